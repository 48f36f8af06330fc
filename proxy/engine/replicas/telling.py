"""Telling owners what is still read of theirs, how much of it was taken, and what is read no more."""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Collection
from typing import Final

from proxy.core.letters import Reads
from proxy.engine.replicas.correspondence import Correspondence
from proxy.engine.replicas.reading import Reading
from proxy.engine.tasks import Tasks
from proxy.stores.bus.port import BusUnavailableError

TELL_SECONDS: Final = 0.02
"""So long what was taken waits for others, to be told in one letter."""
TOLD_AT_ONCE: Final = 500


class Telling:
    """Gathers what is to be told."""

    def __init__(self, letters: Correspondence, tasks: Tasks) -> None:
        self._letters = letters
        self._tasks = tasks
        self._changed: set[Reading] = set()
        self._left: defaultdict[str, list[str]] = defaultdict(list)
        self._soon: asyncio.Task[None] | None = None

    def changed(self, reading: Reading) -> None:
        """More of a reading was taken."""
        self._changed.add(reading)
        self._tell_soon()

    def left(self, to: str, number: str) -> None:
        """A replica need not serve this any more."""
        self._left[to].append(number)
        self._tell_soon()

    def _tell_soon(self) -> None:
        if self._soon is None:
            self._soon = self._tasks.start(self._tell_changed(), "tell owners what was taken")

    async def _tell_changed(self) -> None:
        await asyncio.sleep(TELL_SECONDS)
        self._soon = None
        changed, self._changed = self._changed, set()
        await self.tell([reading for reading in changed if not reading.is_over])

    async def tell(self, readings: Collection[Reading]) -> None:
        """Tell of these readings, and of all that are none any more."""
        taken: defaultdict[str, dict[str, int]] = defaultdict(dict)
        for reading in readings:
            reading.told = reading.taken
            taken[reading.letter.to][reading.letter.number] = reading.taken
        left, self._left = self._left, defaultdict(list)
        for to in {*taken, *left}:
            numbers = list(taken[to].items())
            for start in range(0, max(len(numbers), 1), TOLD_AT_ONCE):
                part, gone = dict(numbers[start : start + TOLD_AT_ONCE]), tuple(left.pop(to, ()))
                letter = Reads(**self._letters.head(to), taken=part, left=gone)
                with contextlib.suppress(BusUnavailableError):  # it is told again, or seen by its silence
                    await self._letters.bus.send(to, self._letters.close(letter))
