"""Dead replicas: whoever notices one first ends what it left, exactly once.

Its generations become `interrupted` in the directory, and in the ledger where the replicas share one. Without a shared
one its own ledger says it too, when it comes back. A replica that stands still is not dead: its ear is open.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from proxy.engine.failures import log_failure
from proxy.engine.metrics import Metrics
from proxy.engine.tasks import Tasks
from proxy.stores.bus import Bus, BusUnavailableError
from proxy.stores.ports import LedgerUnavailableError

log = structlog.get_logger()

BURIAL_WAIT: Final = 1.0
"""How long whoever asks waits until what a dead replica left is ended; that goes on by itself."""

EndLeft = Callable[[str, float], Awaitable[int]]
"""Ends the running records of a replica that started before a time, in seconds since the epoch; gives how many.

It may be called again for the same replica, and ends nothing twice. It raises `LedgerUnavailableError`.
"""


class Undertaker:
    """Sees to what dead replicas left. `end_left`: the shared ledger's part of it, where there is one."""

    def __init__(self, bus: Bus, metrics: Metrics) -> None:
        self._bus = bus
        self._metrics = metrics
        self._tasks = Tasks()
        self._at_work: dict[str, asyncio.Task[None]] = {}
        self.end_left: EndLeft | None = None

    def lapsed(self, replica: str) -> None:
        """A replica's lease is over."""
        self._begin(replica)

    async def is_dead(self, replica: str, seconds: float = BURIAL_WAIT) -> bool:
        """Whether a replica that does not answer is gone; then what it left is seen to, for up to so many seconds.

        One that a bus which was just emptied does not know may be back in a moment: it is not taken for dead.

        Raises:
            BusUnavailableError: it can't be asked now.
        """
        if not await self._bus.is_dead(replica) or not await self._bus.knows_all():
            return False
        await asyncio.wait({self._begin(replica)}, timeout=seconds)
        return True

    async def close(self) -> None:
        """Leave it to the others."""
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
        except LedgerUnavailableError as error:  # it is tried again when this burial's time is over
            log_failure("replica.not_buried", error, replica=replica)

    async def _bury(self, replica: str) -> None:
        bus = self._bus
        if not await bus.is_dead(replica) or not await bus.begin_burial(replica):
            return
        died_before = bus.now()
        left = await bus.bury(replica)
        ended = None if self.end_left is None else await self.end_left(replica, died_before)
        await bus.end_burial(replica)
        self._metrics.dead_replicas.inc()
        log.warning("replica.dead", replica=replica, interrupted=len(left), recorded=ended)
