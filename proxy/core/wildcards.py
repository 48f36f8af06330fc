"""Names with wildcards, as the price list has them: `*` stands for any text, `?` for one character.

Pure, and linear in the length of a name: names come from callers.
"""

import re
from functools import cached_property, total_ordering
from typing import Final

ANY: Final = "*"
ONE: Final = "?"


@total_ordering
class Pattern:
    """A name, or a whole family of names. The more specific pattern is the larger one.

    More specific is the one with more characters that are no wildcards; of as many, the one with more `?`, then the one
    with fewer `*`. So a plain name goes before any pattern that matches it.
    """

    def __init__(self, text: str) -> None:
        """Several `*` in a row are one."""
        self.text = re.sub(r"\*+", ANY, text)

    @property
    def is_plain(self) -> bool:
        """Whether it is a name without wildcards."""
        return ANY not in self.text and ONE not in self.text

    @property
    def is_all(self) -> bool:
        """Whether it says nothing about a name."""
        return self.text == ANY

    @cached_property
    def rank(self) -> tuple[int, int, int]:
        """How specific it is."""
        stars, ones = self.text.count(ANY), self.text.count(ONE)
        return len(self.text) - stars - ones, ones, -stars

    @property
    def beginning(self) -> str:
        """What stands before the first wildcard."""
        return re.split(r"[*?]", self.text, maxsplit=1)[0]

    def matches(self, name: str) -> bool:
        """Whether it is, or stands for, this name; upper and lower case differ."""
        return self._expression.fullmatch(name) is not None

    def overlaps(self, other: "Pattern") -> bool:
        """Whether there is a name that both match."""
        one, two = self.text, other.text
        reached = {0}  # how far `two` is used up, for as much of `one` as was looked at
        for character in one:
            reached = _after(character, two, reached)
        return len(two) in _skipped(two, reached)

    @cached_property
    def _expression(self) -> re.Pattern[str]:
        first, *rest = (re.escape(piece).replace(r"\?", ".") for piece in self.text.split(ANY))
        # The first place where a piece fits is as good as any later one, so nothing is tried twice.
        inner = "".join(f"(?>.*?{piece})" for piece in rest[:-1])
        return re.compile(first + inner + (f".*{rest[-1]}" if rest else ""), re.DOTALL)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Pattern) and self.text == other.text

    def __lt__(self, other: "Pattern") -> bool:
        return self.rank < other.rank

    def __hash__(self) -> int:
        return hash(self.text)

    def __str__(self) -> str:
        return self.text


def _skipped(text: str, places: set[int]) -> set[int]:
    """The places, and those behind the stars that stand there: a star may stand for nothing."""
    found = set(places)
    for place in places:
        while place < len(text) and text[place] == ANY:
            place += 1  # noqa: PLW2901 walks on from its own place
            found.add(place)
    return found


def _after(character: str, text: str, places: set[int]) -> set[int]:
    """Where in `text` one may be behind one more character of the other pattern."""
    places = _skipped(text, places)
    if character == ANY:  # it may take up as much as it likes
        return set(range(min(places), len(text) + 1)) if places else places
    found = set()
    for place in places:
        if place < len(text) and text[place] == ANY:
            found.add(place)
        elif place < len(text) and (character == ONE or text[place] in (character, ONE)):
            found.add(place + 1)
    return found
