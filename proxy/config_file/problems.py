"""What is wrong with a config file, and where; the nearest right word for a wrong one."""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

SHOWN_AT_ONCE = 20

Loc = tuple[str | int, ...]
"""Where a value stands: the keys and list indexes from the root."""


class Position(NamedTuple):
    """Line and column in the file, both from 1."""

    line: int
    column: int


START = Position(1, 1)


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One error or warning at one place. `path` is the key in dotted form, such as `routes[0].upstream`."""

    file: str
    line: int
    column: int
    message: str
    path: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.message}"


def render(problems: Sequence[Problem]) -> list[str]:
    """The lines for people who did not ask for them: the first twenty, then how many more there are."""
    lines = [str(problem) for problem in problems[:SHOWN_AT_ONCE]]
    more = len(problems) - SHOWN_AT_ONCE
    return [*lines, f"… and {more} more"] if more > 0 else lines


def dotted(loc: Loc) -> str:
    """A place as people write it: `routes[0].upstream`."""
    text = ""
    for part in loc:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def printable(text: str) -> str:
    """The text with what a terminal would obey, or could not show, written as an escape."""
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that was probably meant, or None when nothing is near."""
    by_plain = {_plain(candidate): candidate for candidate in known}
    found = difflib.get_close_matches(_plain(word), by_plain, n=1, cutoff=0.6)
    return by_plain[found[0]] if found else None


def did_you_mean(word: str, known: Sequence[str]) -> str:
    """The end of a message: the nearest word, or all of them."""
    near = nearest(word, known)
    if near is not None:
        return f" (did you mean '{near}'?)"
    return f" (known: {', '.join(sorted(known))})" if known else ""


def _plain(word: str) -> str:
    return word.lower().replace("-", "").replace("_", "")
