"""`GET /api/usage`: sums over the records."""

import asyncio
import json
import time
from decimal import Decimal
from typing import Any, Final

from aiohttp import web

from proxy.core.errors import Refusal
from proxy.core.lifecycle import Outcome
from proxy.core.money import cost_text
from proxy.core.receipt import iso
from proxy.edge.admin.query import one_of, parameters, span, tag_of
from proxy.edge.runtime import Runtime
from proxy.engine.engine import Engine
from proxy.stores.ledger.usage import (
    MOST_GROUPS,
    TAG_GROUP,
    USAGE_GROUPS,
    TooManyGroupsError,
    UsageQuery,
    UsageRow,
)

DEFAULT_SINCE: Final = "7d"
DEFAULT_GROUP: Final = "model"
FILTERS: Final = ("key", "user", "model", "route", "tag", "outcome")


class AdminUsage:
    """Sums over the ledger's records."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def usage(self, http: web.BaseRequest, _runtime: Runtime) -> web.Response:
        """Sums over the records that started in a span, groups with the most tokens first."""
        given = parameters(http, ("since", "until", "by", *FILTERS))
        asked = _query({"since": DEFAULT_SINCE, **given}, time.time())
        try:
            rows = await self._engine.ledger.usage(asked)
        except TooManyGroupsError as error:
            message = f"There are more than {MOST_GROUPS} groups. Choose a shorter span, a filter, or fewer groups."
            raise Refusal.bad_request("too_many_groups", message, "by") from error
        body = await asyncio.to_thread(_written, asked, rows)
        return web.Response(body=body, content_type="application/json")


def _written(asked: UsageQuery, rows: list[UsageRow]) -> bytes:
    """The answer. Row by row: the event loop gets its turns between them, however many there are."""
    about = {
        "object": "usage",
        "since": iso(asked.span.since),
        "until": iso(asked.span.until),
        "by": list(asked.by),
    }
    data = ", ".join(json.dumps(_shown(asked, row)) for row in rows)
    return f'{json.dumps(about)[:-1]}, "data": [{data}]}}'.encode()


def _query(given: dict[str, str], now: float) -> UsageQuery:
    outcome, tag = given.get("outcome"), given.get("tag")
    return UsageQuery(
        by=_groups(given.get("by", DEFAULT_GROUP)),
        span=span(given, now),
        key_id=given.get("key"),
        user=given.get("user"),
        model=given.get("model"),
        route=given.get("route"),
        outcome=None if outcome is None else Outcome(one_of("outcome", outcome, list(Outcome))),
        tag=None if tag is None else tag_of(tag),
    )


def _groups(text: str) -> tuple[str, ...]:
    groups = tuple(text.split(","))
    for name in groups:
        if not (name.startswith(TAG_GROUP) and name != TAG_GROUP):
            one_of("by", name, (*USAGE_GROUPS, f"{TAG_GROUP}NAME"))
    if len(set(groups)) < len(groups):
        raise Refusal.bad_request("invalid_parameter", "by names one group twice.", "by")
    return groups


def _shown(asked: UsageQuery, row: UsageRow) -> dict[str, Any]:
    return {
        "group": dict(zip(asked.by, row.group, strict=True)),
        "generations": row.generations,
        "prompt_tokens": row.prompt_tokens,
        "completion_tokens": row.completion_tokens,
        "total_tokens": row.total_tokens,
        "cached_tokens": row.cached_tokens,
        "reasoning_tokens": row.reasoning_tokens,
        "unknown": row.unknown,
        "cost": {currency: cost_text(cost) for currency, cost in sorted(row.costs.items())},
        "cost_unknown": row.cost_unknown,
        "saved_most": row.saved_most,
        "saved_typical": row.saved_typical,
        "late_tokens": row.late_tokens,
        "saved_cost": saved_cost_shown(row),
        "saved_unpriced": row.saved_unpriced,
    }


def saved_cost_shown(row: UsageRow) -> dict[str, Any] | None:
    """What was saved in money, by currency and as a range; None: none of what was saved has a known price."""
    shown = {
        currency: {"typical": _cost(saved.typical), "most": _cost(saved.most)}
        for currency, saved in sorted(row.saved_costs.items())
    }
    return shown or None


def _cost(cost: Decimal | None) -> str | None:
    return None if cost is None else cost_text(cost)
