"""A text that grows at its end: kept in little memory, joined when somebody asks.

Answers are mostly short and stay as they are. Of a long one only the newest stretch does; the stretches before it are
compressed, since nobody looks at them before the end.
"""

import zlib
from collections.abc import Iterable

_OPEN_PIECES = 64
"""Deltas are a few characters each; joining them by this many keeps a text near its own size in memory."""
_STRETCH = 16 * 1024
"""Characters that are compressed as one: enough for zlib to find repetition, and done in 0.2 ms."""
_HIGH_SURROGATES = ("\ud800", "\udbff")


class Text:
    """A text that grows at its end."""

    __slots__ = ("_loose", "_open", "_packed", "_packed_size", "_sealed", "_taken", "_untaken")

    def __init__(self) -> None:
        self._packed: list[bytes] | None = None  # made when it is needed: thousands of texts are short
        self._packed_size = 0  # characters in `_packed`
        self._untaken = 0  # of the packed stretches so many, the last ones, were not taken yet
        self._sealed: list[str] = []
        self._loose = 0  # characters in `_sealed` and `_open`
        self._taken = 0  # of `_sealed` so many were taken
        self._open: list[str] = []

    def add(self, piece: str) -> None:
        """Add a piece at the end."""
        self._open.append(piece)
        self._loose += len(piece)
        if len(self._open) >= _OPEN_PIECES or self._loose >= _STRETCH:
            self._seal()
            if self._loose >= _STRETCH:
                self._pack()

    @property
    def size(self) -> int:
        """Characters of the whole text."""
        return self._packed_size + self._loose

    def value(self) -> str:
        """The whole text."""
        self._seal()
        return "".join((*_unpacked(self._packed or ()), *self._sealed))

    def since(self, start: int) -> str:
        """The text behind its first `start` characters, at the price of what that is, not of the whole."""
        self._seal()
        wanted = self.size - start
        found, pieces = self._loose, ["".join(self._sealed)]
        for each in _unpacked(reversed(self._packed or ())):
            if found >= wanted:
                break
            found += len(each)
            pieces.append(each)
        return "".join(reversed(pieces))[max(found - wanted, 0) :]

    def take(self) -> str:
        """What was added since the last take. Half a surrogate pair at the end stays until its other half comes."""
        self._seal()
        packed = self._packed or []
        first = len(packed) - self._untaken
        new = "".join((*_unpacked(packed[first:]), *self._sealed[self._taken :]))
        if new and _HIGH_SURROGATES[0] <= new[-1] <= _HIGH_SURROGATES[1]:
            size = self.size
            del packed[first:]
            self._sealed[self._taken :] = [new[:-1]]
            self._open.append(new[-1])
            new = new[:-1]
            self._loose = sum(map(len, (*self._sealed, *self._open)))
            self._packed_size = size - self._loose
        self._taken, self._untaken = len(self._sealed), 0
        return new

    def _seal(self) -> None:
        if self._open:
            self._sealed.append("".join(self._open))
            self._open.clear()

    def _pack(self) -> None:
        """Compress what is sealed, apart by whether it was taken."""
        packed = self._packed = self._packed or []
        for pieces, untaken in ((self._sealed[: self._taken], 0), (self._sealed[self._taken :], 1)):
            if pieces:
                packed.append(zlib.compress("".join(pieces).encode("utf-8", "surrogatepass"), 1))
                self._untaken += untaken
        self._sealed.clear()
        self._packed_size += self._loose
        self._loose = self._taken = 0


def _unpacked(packed: Iterable[bytes]) -> Iterable[str]:
    return (zlib.decompress(each).decode("utf-8", "surrogatepass") for each in packed)
