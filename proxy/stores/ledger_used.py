"""What callers and their users have used since a time: asked once, when a budget begins to hold."""

import json
from typing import Any

from sqlalchemy import ColumnElement, func, null, select
from sqlalchemy.ext.asyncio import AsyncConnection

from proxy.core.money import COST_PART, cost_of
from proxy.stores.ports import UsedFilter, UsedRow
from proxy.stores.tables import generation

_at = generation.c


async def used(connection: AsyncConnection, which: UsedFilter) -> list[UsedRow]:
    """See `proxy.stores.ports.Ledger.used`. Largest means most tokens, then most seconds."""
    user: ColumnElement[Any] = _at.user if which.by_user else null()
    tokens = func.coalesce(func.sum(_at.completion_tokens), 0)
    seconds = func.coalesce(func.sum(_at.elapsed_seconds), 0.0)
    high = func.coalesce(func.sum(_at.cost.op("/")(COST_PART)), 0)
    low = func.coalesce(func.sum(_at.cost % COST_PART), 0)
    asked = (
        select(_at.identity, user, _at.replica, seconds, tokens, high, low)
        .where(_at.started_at >= which.since, _at.started_at < which.before)
        .group_by(_at.identity, user, _at.replica)
        .order_by(tokens.desc(), seconds.desc())
        .limit(which.most)
    )
    if which.without:
        left_out = func.json_each(json.dumps(list(which.without))).table_valued("value")
        asked = asked.where(_at.uid.not_in(select(left_out.c.value)))
    rows = (await connection.execute(asked)).all()
    return [
        UsedRow(identity, name, replica, lasted, count, cost_of(high * COST_PART + low))
        for identity, name, replica, lasted, count, high, low in rows
    ]
