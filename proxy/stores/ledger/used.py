"""What callers and their users have used since a time: asked once, when a budget begins to hold."""

import json
from collections.abc import Collection
from typing import Any

from sqlalchemy import JSON, ColumnElement, Select, Text, cast, func, literal, null, select
from sqlalchemy.ext.asyncio import AsyncConnection

from proxy.core.money import COST_PART, cost_of
from proxy.stores.ledger.port import UsedFilter, UsedRow
from proxy.stores.shared_ledger.known_later import numbers
from proxy.stores.tables import generation

_at = generation.c


async def used(connection: AsyncConnection, which: UsedFilter) -> list[UsedRow]:
    """See `proxy.stores.ledger.port.Ledger.used`. Largest means most tokens, then most seconds."""
    user: ColumnElement[Any] = _at.user if which.by_user else null()
    counted = numbers(connection.dialect.name)
    cost = counted.columns["cost"]
    tokens = func.coalesce(func.sum(counted.columns["completion_tokens"]), 0)
    seconds = func.coalesce(func.sum(_at.elapsed_seconds), 0.0)
    high = func.coalesce(func.sum(cost.op("/")(COST_PART)), 0)
    low = func.coalesce(func.sum(cost % COST_PART), 0)
    asked = (
        select(_at.identity, user, _at.replica, seconds, tokens, high, low)
        .select_from(counted.source)
        .where(_at.started_at >= which.since, _at.started_at < which.before)
        .group_by(_at.identity, _at.replica, *([_at.user] if which.by_user else []))
        .order_by(tokens.desc(), seconds.desc())
        .limit(which.most)
    )
    if which.without:
        asked = asked.where(_at.uid.not_in(_named(connection, which.without)))
    rows = (await connection.execute(asked)).all()
    return [
        UsedRow(identity, name, replica, lasted, int(count), cost_of(int(high) * COST_PART + int(low)))
        for identity, name, replica, lasted, count, high, low in rows
    ]


def _named(connection: AsyncConnection, uids: Collection[str]) -> Select[Any]:
    """The uids as rows, by one value however many they are."""
    said = json.dumps(list(uids))
    if connection.dialect.name == "sqlite":
        return select(func.json_each(said).table_valued("value").c.value)
    return select(func.json_array_elements_text(cast(literal(said, Text), JSON)).table_valued("value").c.value)
