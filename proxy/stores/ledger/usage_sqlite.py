"""Sums over the records: one statement that reads each of them once, and one for what stops saved.

A million records take about a second. Costs are summed in two parts, each far from 64 bits, and so are exact.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Float, Row, Select, func, literal_column, or_, select

from proxy.core.money import COST_PART, cost_of
from proxy.core.prices import Price, completion_cost, thawed
from proxy.core.settled import TRUTH_COUNTS
from proxy.stores.both_sql import tag_value, whole_part
from proxy.stores.ledger.rows import clean
from proxy.stores.ledger.usage import MOST_GROUPS, TAG_GROUP, SavedCost, Span, TooManyGroupsError, UsageQuery, UsageRow
from proxy.stores.shared_ledger.known_later import numbers
from proxy.stores.tables import generation

_at = generation.c

_MUCH: Final = 4
"""From one in so many records on it is faster to read them all in their order than to look each up by its start."""

_DAY: Final = 86400
_HOUR: Final = 3600
_SAVED: Final = ("saved_most", "saved_typical", "late_tokens")

_IS_SAVED: Final = or_(_at.saved_most.is_not(None), _at.saved_typical.is_not(None))
_SAVED_SUMS: Final = (
    func.count().label("saved"),
    func.sum(_at.saved_typical).label("saved_typical"),
    func.sum(_at.saved_most).label("saved_most"),
)
"""At each frozen price. There are few of these, and few records with savings: they have a statement of their own."""

_COLUMNS: Final[dict[str, ColumnElement[Any]]] = {
    "model": _at.model,
    "key": _at.key_id,
    "user": _at.user,
    "route": _at.route,
    "upstream": _at.upstream,
    "replica": _at.replica,
    "day": whole_part(_at.started_at / _DAY),
    "hour": whole_part(_at.started_at / _HOUR),
    "outcome": _at.outcome,
    "cause": _at.cause,
}


def usage_rows(connection: Connection, query: UsageQuery) -> list[UsageRow]:
    """The sums, groups with the most tokens first.

    Raises:
        TooManyGroupsError: there are more than `MOST_GROUPS` groups.
    """
    groups = [_group(name).label(f"group_{number}") for number, name in enumerate(query.by)]
    counted = numbers(connection.dialect.name)
    started = _started(query.span, _start_of(connection, query.span))
    by_currency = select(*groups, counted.columns["currency"].label("currency"), *_sums(counted.columns))
    by_price = select(*groups, _at.price.label("price"), *_SAVED_SUMS).where(_IS_SAVED)
    rows: dict[tuple[str | None, ...], UsageRow] = {}
    columns: list[ColumnElement[Any]] = [literal_column(str(number + 1)) for number in range(len(groups) + 1)]
    for chosen, add in ((by_currency.select_from(counted.source), _add), (by_price, _add_saved)):
        for row in connection.execute(_filtered(chosen, query).where(*started).group_by(*columns)):
            group = tuple(_name(name, value) for name, value in zip(query.by, row, strict=False))
            if group not in rows and len(rows) == MOST_GROUPS:
                raise TooManyGroupsError
            add(rows.setdefault(group, UsageRow(group)), row)
    return sorted(rows.values(), key=_place)


def within(span: Span) -> list[ColumnElement[bool]]:
    """The conditions of a span."""
    return _started(span, _at.started_at)


def _group(name: str) -> ColumnElement[Any]:
    if not name.startswith(TAG_GROUP):
        return _COLUMNS[name]
    return tag_value(_at.tags, clean(name.removeprefix(TAG_GROUP)))


def _name(name: str, value: Any) -> str | None:
    if name == "day":
        return datetime.fromtimestamp(value * _DAY, UTC).date().isoformat()
    if name == "hour":
        return datetime.fromtimestamp(value * _HOUR, UTC).strftime("%Y-%m-%dT%H:%MZ")
    return None if value is None else str(value)


def _sums(counted: Mapping[str, ColumnElement[Any]]) -> list[ColumnElement[Any]]:
    prompt, completion, cost = counted["prompt_tokens"], counted["completion_tokens"], counted["cost"]
    return [
        func.count().label("generations"),
        func.count().filter(or_(prompt.is_(None), completion.is_(None))).label("unknown"),
        func.count(cost).label("cost_known"),
        func.sum(cost.op("/")(COST_PART)).label("cost_high"),
        func.sum(cost % COST_PART).label("cost_low"),
        *(func.sum(counted[name]).label(name) for name in TRUTH_COUNTS),
        *(func.sum(_at[name]).label(name) for name in _SAVED),
    ]


def _filtered(asked: Select[Any], query: UsageQuery) -> Select[Any]:
    for column, value in (
        (_at.key_id, query.key_id),
        (_at.user, query.user),
        (_at.model, query.model),
        (_at.route, query.route),
        (_at.outcome, query.outcome),
    ):
        if value is not None:
            asked = asked.where(column == clean(str(value)))
    if query.tag is not None:
        asked = asked.where(_group(f"{TAG_GROUP}{query.tag[0]}") == clean(query.tag[1]))
    return asked


def _start_of(connection: Connection, span: Span) -> ColumnElement[Any]:
    """The start as a column, which its index serves; or as an expression, which is read row by row."""
    if span == Span() or connection.dialect.name != "sqlite":
        return _at.started_at
    meant = connection.scalar(select(func.count()).where(*within(span))) or 0
    last: int = connection.scalar(select(func.max(literal_column("generation.rowid"))).select_from(generation)) or 0
    return literal_column("+generation.started_at", Float) if meant * _MUCH > last else _at.started_at


def _started(span: Span, start: ColumnElement[Any]) -> list[ColumnElement[bool]]:
    bounds = []
    if span.since is not None:
        bounds.append(start >= span.since)
    if span.until is not None:
        bounds.append(start < span.until)
    return bounds


def _add(into: UsageRow, row: Row[Any]) -> None:
    """Add the sums of one currency to those of its group."""
    into.generations += row.generations
    into.unknown += row.unknown
    into.cost_unknown += row.generations - row.cost_known
    if row.cost_known:
        cost = cost_of(int(row.cost_high) * COST_PART + int(row.cost_low))
        into.costs[row.currency or ""] = into.costs.get(row.currency or "", Decimal(0)) + cost
    for name in (*TRUTH_COUNTS, *_SAVED):
        more = getattr(row, name)
        if more is not None:
            setattr(into, name, (getattr(into, name) or 0) + int(more))  # PostgreSQL sums to decimals


def _add_saved(into: UsageRow, row: Row[Any]) -> None:
    """Add what was saved at one price; without one that can be read nobody knows what that is."""
    price = None if row.price is None else _price(row.price)
    if price is None:
        into.saved_unpriced += row.saved
        return
    saved = SavedCost(*(_at_price(price, getattr(row, name)) for name in ("saved_typical", "saved_most")))
    into.saved_costs[price.currency] = into.saved_costs.get(price.currency, SavedCost()) + saved


def _at_price(price: Price, tokens: Any) -> Decimal | None:
    """What so many completion tokens would have cost, exactly."""
    return None if tokens is None else completion_cost(price, int(tokens))


@lru_cache
def _price(text: str) -> Price | None:
    """A price as a record has it; None: it can't be read."""
    try:
        return thawed(text)
    except ValueError:
        return None


def _place(row: UsageRow) -> tuple[Any, ...]:
    return (-(row.total_tokens or 0), -row.generations, [value or "" for value in row.group])
