"""Dead replicas: whoever notices one first ends what it left, exactly once.

Its generations become `interrupted` in the directory. In its own ledger they do when it comes back; in one that the
replicas share when its lease there is over too: a replica that only the bus has lost streams on, and is billed.
A replica that stands still is not dead, for six leases more: its ear is open. What was kept for one that is buried
stays: it may be back.
"""

import asyncio
from typing import Final

import structlog

from proxy.engine.tasks import Tasks
from proxy.engine.telemetry.metrics import Metrics
from proxy.stores.bus.port import Bus, BusUnavailableError

log = structlog.get_logger()

BURIAL_WAIT: Final = 1.0
"""How long whoever asks waits until what a dead replica left is ended; that goes on by itself."""


class Undertaker:
    """Sees to what dead replicas left."""

    def __init__(self, bus: Bus, metrics: Metrics) -> None:
        self._bus = bus
        self._metrics = metrics
        self._tasks = Tasks()
        self._is_closed = False
        self._at_work: dict[str, asyncio.Task[None]] = {}

    def lapsed(self, replica: str) -> None:
        """A replica's lease is over."""
        if not self._is_closed:
            self._begin(replica)

    async def is_dead(self, replica: str, seconds: float = BURIAL_WAIT) -> bool:
        """Whether a replica that does not answer is gone; then what it left is seen to, for up to so many seconds.

        One that a bus which was just emptied does not know may be back in a moment: it is not taken for dead.

        Raises:
            BusUnavailableError: it can't be asked now.
        """
        if not await self._bus.is_dead(replica) or not await self._bus.knows_all():
            return False
        if not self._is_closed:
            await asyncio.wait({self._begin(replica)}, timeout=seconds)
        return True

    async def close(self) -> None:
        """Leave it to the others, from now on too."""
        self._is_closed = True
        await self._tasks.cancel()

    def _begin(self, replica: str) -> "asyncio.Task[None]":
        if (task := self._at_work.get(replica)) is None:
            task = self._at_work[replica] = self._tasks.start(self._work(replica), f"see to {replica}")
            task.add_done_callback(lambda _: self._at_work.pop(replica, None))
        return task

    async def _work(self, replica: str) -> None:
        try:
            await self._bury(replica)
        except BusUnavailableError:
            return  # whoever has the bus does it

    async def _bury(self, replica: str) -> None:
        bus = self._bus
        if not await bus.is_dead(replica) or not await bus.begin_burial(replica):
            return
        left = await bus.bury(replica)
        await bus.end_burial(replica)
        self._metrics.dead_replicas.inc()
        log.warning("replica.dead", replica=replica, interrupted=len(left))
