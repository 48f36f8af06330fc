"""Looking at what runs under budgets, once a flush and more often near a limit: what has reached one is stopped.

Everything that counts on one account is looked at together, and stops together: streams of one key that run at once
can't use more of its budget than all of them make within one flush.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import structlog

from proxy.core.budget import Budget, Limit
from proxy.core.generation import Stop
from proxy.core.lifecycle import Cause
from proxy.core.use import Account
from proxy.engine.failures import log_failure
from proxy.engine.limits.sharing import Sharing
from proxy.engine.limits.spending import Spending
from proxy.engine.relaying.relay import Relay
from proxy.engine.tasks import Tasks
from proxy.engine.telemetry.metrics import Metrics

log = structlog.get_logger()

LOOKED_AT_ONCE: Final = 100
"""So many generations are looked at before other work gets its turn."""


class BudgetLooks:
    """One per process. `spending` has what runs under a budget, by its `uid`."""

    def __init__(self, spending: Mapping[str, Spending], metrics: Metrics, now: Callable[[], float]) -> None:
        self._spending = spending
        self._metrics = metrics
        self._now = now
        self.sharing: Sharing | None = None
        """What counts over all replicas; None: this one is alone."""
        self._looks, self._shares = Tasks(), Tasks()
        self._next_look: asyncio.TimerHandle | None = None

    def soon(self) -> None:
        """Look at all that is under a budget, beside the sweep: counting may take a while, and deadlines don't wait."""
        if self._spending and not len(self._looks):
            self._looks.start(self._look(), "look at the budgets")

    def _look_near(self, near: set[Account]) -> None:
        """Look again at what counts on these, at what has come of it since the last sweep too."""
        spendings = [each for each in self._spending.values() if not near.isdisjoint(each.accounts)]
        if spendings and not len(self._looks):
            self._looks.start(self._look(spendings), "look near a limit")

    async def _look(self, only: Sequence[Spending] = ()) -> None:
        now, spendings = self._now(), only or list(self._spending.values())
        for number, spending in enumerate(spendings, 1):
            try:
                if only:
                    spending.relay.fold()
                if spending.counts:
                    await spending.count(now)
                else:
                    spending.tick(now)
            except Exception as error:  # noqa: BLE001 one bad generation must not end the budgets of all behind it
                log_failure("budget.failed", error, task_id=spending.relay.generation.facts.task_id)
            if number % LOOKED_AT_ONCE == 0:
                await asyncio.sleep(0)
        self._stop_reached()
        if self.sharing is not None and not len(self._shares):
            self._shares.start(self._share(self.sharing, spendings), "share what is used")

    async def _share(self, sharing: Sharing, spendings: Sequence[Spending]) -> None:
        """Beside the looks: what is known here doesn't wait for others."""
        near = await sharing.look(spendings)
        self._stop_reached()
        if near:
            later = asyncio.get_running_loop().call_later
            self._next_look = later(sharing.soon, self._look_near, near)

    def _stop_reached(self) -> None:
        away = None if self.sharing is None else self.sharing.away
        for spending in list(self._spending.values()):
            if (reached := spending.reached(away)) is not None:
                self._stop(spending.relay, *reached)

    def _stop(self, relay: Relay, budget: Budget, limit: Limit) -> None:
        cause = Cause.DEADLINE if limit == "seconds" else Cause.BUDGET
        says = budget.says(limit)
        if relay.stop(Stop(cause, reason=f"budget: {says}")):
            facts = relay.generation.facts
            log.info("budget.stopped", task_id=facts.task_id, key=facts.identity.shown, limit=limit, budget=says)
            self._metrics.budget_stops_of(budget.per, limit).inc()

    async def end(self) -> None:
        """Look no more."""
        await self._shares.cancel()
        if self._next_look is not None:
            self._next_look.cancel()
        await self._looks.cancel()
