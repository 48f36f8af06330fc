"""The sweep over everything that lives: deadlines, folds, texts to the stores, budgets, signs of life, what is over."""

import asyncio
import time
from collections.abc import Callable
from typing import Final

from proxy.engine.failures import log_failure
from proxy.engine.limits.budgets import Budgets
from proxy.engine.registry import Registry
from proxy.engine.relaying.keep_alive import keep_alive
from proxy.engine.relaying.kept_stops import KeptStops
from proxy.engine.relaying.relay import Relay
from proxy.engine.settling.early_prompts import EarlyPrompts
from proxy.engine.tasks import Tasks
from proxy.engine.telemetry.metrics import Metrics
from proxy.engine.translating.keeping import Keeping
from proxy.engine.translating.left_runs import LeftRuns
from proxy.engine.translating.runs import Runs
from proxy.stores.ledger.port import Ledger

SWEPT_AT_ONCE: Final = 200
"""So many generations are swept before other work gets its turn."""

SHARE_OF_FLUSH: Final = 0.6
"""Between two sweeps, in flushes: what comes just behind one has to be on disk within a flush, its write included."""

PURGE_SECONDS: Final = 600.0
FIRST_PURGE_SECONDS: Final = 60.0
"""How long after the start the first purge is: a start has enough to do."""


class Sweeper:
    """One per process. What takes long runs beside it: deadlines don't wait for a disk."""

    def __init__(
        self,
        registry: Registry,
        runs: Runs,
        left: LeftRuns,
        ledger: Ledger,
        keeping: Keeping,
        budgets: Budgets,
        prompts: EarlyPrompts,
        stops: KeptStops,
        metrics: Metrics,
        now: Callable[[], float],
    ) -> None:
        self._registry = registry
        self._runs = runs
        self._left = left
        self._ledger = ledger
        self._keeping = keeping
        self._budgets = budgets
        self._prompts = prompts
        self._stops = stops
        self._metrics = metrics
        self._now = now
        self._chores = Tasks()
        self._purge_at = now() + FIRST_PURGE_SECONDS

    async def sweep_forever(self, flush: float) -> None:
        """Sweep so often that a text is on disk within `flush` seconds; a sweep that takes long does not put it off."""
        every = flush * SHARE_OF_FLUSH
        due = self._now()
        while True:
            due = max(due + every, self._now())
            await asyncio.sleep(due - self._now())
            try:
                await self._sweep()
            except Exception as error:  # noqa: BLE001 one bad sweep must not end all deadlines
                log_failure("sweep.failed", error)

    async def _sweep(self) -> None:
        now = self._now()
        for number, relay in enumerate(self._registry):
            if number % SWEPT_AT_ONCE == SWEPT_AT_ONCE - 1:
                await asyncio.sleep(0)
            try:
                self._look_at(relay, now)
            except Exception as error:  # noqa: BLE001 one bad generation must not end the deadlines of all behind it
                log_failure("sweep.failed", error, task_id=relay.generation.facts.task_id)
        self._budgets.looks.soon()
        for finished in self._registry.expire(now):
            finished.tape.close()
        for run in self._runs.expire(now):
            self._left.tell(run)
        self._metrics.ledger(self._ledger.pending, *self._ledger.transactions)
        if now >= self._purge_at and not len(self._chores):
            self._purge_at = now + PURGE_SECONDS
            self._chores.start(self._purge(), "purge")

    def _look_at(self, relay: Relay, now: float) -> None:
        if text := relay.sweep(now):
            self._ledger.append(relay.generation.facts.uid, text)
            self._keeping.append(relay, text)
        self._prompts.look_at(relay, now)
        if (known := relay.news()) is not None:
            self._ledger.note(relay.generation.facts.uid, known)
        if relay.read_on is not None:
            self._stops.look_at(relay)
        keep_alive(relay, now)

    async def _purge(self) -> None:
        await self._ledger.purge(time.time())
        await self._ledger.conversations.purge(time.time())

    async def end_chores(self) -> None:
        """End what runs beside the sweep; the ledger is about to be closed."""
        await self._budgets.looks.end()
        await self._prompts.end()
        await self._chores.cancel()
