"""`GET /api/summary`: what lives now, and what today has come to, in a few numbers.

Today is the day of UTC. Its sums are read from the ledger once in a while, the more seldom the longer that takes, so
that a page that is looked at all day costs no more than a hundredth of a thread.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from aiohttp import web

from proxy.core.chosen import Chosen
from proxy.core.lifecycle import Outcome
from proxy.core.live_row import LiveCounts, Order
from proxy.core.money import cost_text
from proxy.core.receipt import iso
from proxy.edge.admin.query import parameters
from proxy.edge.admin.usage import saved_cost_shown
from proxy.edge.runtime import Runtime
from proxy.engine.engine import Engine
from proxy.engine.replicas.live_elsewhere import ask_tables
from proxy.stores.ledger.usage import Span, UsageQuery, UsageRow, added_up

KEPT_SECONDS: Final = 1.0
KEPT_TIMES: Final = 100
"""Sums are kept for at least so many times as long as it took to read them."""
ASKED_SECONDS: Final = 2.0
"""How long the other replicas' numbers are kept."""

_DAY: Final = 86400
_BY: Final = ("outcome", "cause")


class Summary:
    """The summary, and what of it is kept for a moment."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._reading = asyncio.Lock()
        self._today: dict[str, Any] = {}
        self.today_at = self._today_until = self._elsewhere_until = float("-inf")
        """Since when today's sums are known, on the engine's clock: what was written before is in them."""
        self._elsewhere = LiveCounts()
        self._is_complete = True

    async def summary(self, http: web.BaseRequest, _runtime: Runtime) -> dict[str, Any]:
        """What lives now, on all replicas, and what this replica's ledger has of today.

        Raises:
            LedgerUnavailableError: it can't be read.
        """
        parameters(http, ())
        return await self.now()

    async def now(self) -> dict[str, Any]:
        """The same.

        Raises:
            LedgerUnavailableError: the ledger can't be read.
        """
        async with self._reading:  # who asks at the same time gets the same
            await self._ask_elsewhere()
            await self._read_today()
        counts = self._engine.live.counts() + self._elsewhere
        return {
            "object": "summary",
            "live": counts.live,
            "reading_on": counts.reading_on,
            "queued": counts.queued,
            "orphans": counts.orphans,
            "complete": self._is_complete,
            "draining": self._engine.draining,
            "today": self._today,
        }

    async def _ask_elsewhere(self) -> None:
        group, now = self._engine.many.group, self._engine.now()
        if group is None or now < self._elsewhere_until:
            return
        tables = await ask_tables(group, Chosen(), Order(), 0)
        self._elsewhere = sum((table.counts for table in tables.by_replica.values()), LiveCounts())
        self._is_complete = tables.complete
        self._elsewhere_until = self._engine.now() + ASKED_SECONDS

    async def _read_today(self) -> None:
        now, wall = self._engine.now(), time.time()
        midnight = wall // _DAY * _DAY
        if now < self._today_until and self._today["since"] == iso(midnight):
            return
        rows = await self._engine.ledger.usage(UsageQuery(_BY, Span(midnight)))
        self._today = _summed(midnight, rows)
        self.today_at, done = now, self._engine.now()
        self._today_until = done + max(KEPT_SECONDS, KEPT_TIMES * (done - now))


def _summed(since: float, rows: Sequence[UsageRow]) -> dict[str, Any]:
    whole, by_cause = added_up(rows), Counter[str]()
    for row in rows:
        outcome, cause = row.group
        if cause is not None and outcome != Outcome.RUNNING:
            by_cause[cause] += row.generations
    return {
        "since": iso(since),
        "generations": whole.generations,
        "stopped": by_cause.total(),
        "stops_by_cause": dict(sorted(by_cause.items())),
        "completion_tokens": whole.completion_tokens,
        "cost": {currency: cost_text(cost) for currency, cost in sorted(whole.costs.items())},
        "saved_tokens": {"typical": whole.saved_typical, "most": whole.saved_most},
        "saved_cost": saved_cost_shown(whole),
        "late_tokens": whole.late_tokens,
    }
