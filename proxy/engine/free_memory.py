"""Giving memory back to the system that the C library keeps after a peak.

glibc returns only what lies at the very end of its heap, and something small that lives on always lies there: after a
burst of long answers 50 to 150 KiB stayed resident for each of them, long after they were gone.
"""

import asyncio
import ctypes
import time
from collections.abc import Callable
from typing import Final

EVERY_SECONDS: Final = 0.5
LARGE: Final = 64 * 1024
"""Bytes: smaller pieces are used again before long."""
ENOUGH: Final = 1024 * 1024
"""Bytes that must have been let go for a call. Each goes over all that is free: after a burst it took 20 ms."""
SHARE: Final = 0.005
"""The part of the time that may go into it."""


def _glibc_trim() -> Callable[[int], int] | None:
    """The C library's own call for it; None where it has none, as musl's and macOS's."""
    try:
        found: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return None
    return found


class FreeMemory:
    """Returns all whole pages that nothing uses, where the C library can, when enough has been let go."""

    def __init__(self, trim: Callable[[int], int] | None = None) -> None:
        self._trim = trim or _glibc_trim()
        self._let_go = 0

    def let_go(self, size: int) -> None:
        """Note that something of so many bytes is not needed any more."""
        if size >= LARGE:
            self._let_go += size

    async def give_back_forever(self) -> None:
        """Look again and again whether there is enough to give back."""
        pause = EVERY_SECONDS
        while True:
            await asyncio.sleep(pause)
            pause = max(EVERY_SECONDS, self.give_back() / SHARE)

    def give_back(self) -> float:
        """Give back what there is, if it is enough; gives the seconds that it took."""
        if self._trim is None or self._let_go < ENOUGH:
            return 0.0
        self._let_go = 0
        began = time.perf_counter()
        self._trim(0)
        return time.perf_counter() - began
