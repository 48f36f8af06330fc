"""How often work is done again and again that must leave the event loop to what is more urgent."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

SHARE: Final = 0.05
"""The part of the event loop's time that such work may take."""


class Pace:
    """Rounds of work with a rest behind each: the more a round took, the longer."""

    def __init__(self, usual: float, longest: float, clock: Callable[[], float]) -> None:
        """Rests are `usual` seconds where that is enough, and `longest` at the most; `clock` is in seconds too."""
        self._usual = usual
        self._longest = longest
        self._clock = clock
        self._took = 0.0

    @contextmanager
    def work(self) -> Iterator[None]:
        """A piece of a round."""
        began = self._clock()
        try:
            yield
        finally:
            self._took += self._clock() - began

    def rest(self) -> float:
        """Seconds to wait behind the round that ends with this call."""
        took, self._took = self._took, 0.0
        return min(max(self._usual, took / SHARE - took), self._longest)
