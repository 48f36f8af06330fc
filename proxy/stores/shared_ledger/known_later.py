"""What an owner knew of records that others had ended in its place: it counts in lists and sums.

Such a record stays `interrupted`, and its first version in exports stays as it was given out. What its owner knew is
the newest truth with a source `replica:NAME`. Only a ledger that replicas share has any.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import ColumnElement, FromClause, Subquery, case, func, literal_column, select
from sqlalchemy.ext.asyncio import AsyncConnection

from proxy.core.lifecycle import Outcome
from proxy.core.money import cost_of
from proxy.core.record import Record, UsageSource
from proxy.core.settled import TRUTH_COUNTS
from proxy.stores.ledger import questions
from proxy.stores.ledger.port import Page, RecordFilter
from proxy.stores.ledger.questions import Found
from proxy.stores.tables import generation, truth

SOURCE: Final = "replica:"
"""How the source of such a truth begins; behind it is the replica's name."""

_OWNERS: Final[ColumnElement[bool]] = truth.c.source.startswith(literal_column(f"'{SOURCE}'"))
_INTERRUPTED: Final[ColumnElement[bool]] = generation.c.outcome == literal_column("'interrupted'")


class Numbers(NamedTuple):
    """What sums are made of: the columns of the numbers that count, by name, and where they come from."""

    columns: Mapping[str, ColumnElement[Any]]
    source: FromClause


def numbers(dialect: str) -> Numbers:
    """The numbers that count, in a database with that dialect. In SQLite, which is nobody else's, the records' own."""
    names = (*TRUTH_COUNTS, "cost", "currency")
    if dialect == "sqlite":
        return Numbers({name: generation.c[name] for name in names}, generation)
    later = _newest()
    columns: dict[str, ColumnElement[Any]] = {
        name: func.coalesce(later.c[name], generation.c[name], type_=generation.c[name].type) for name in names
    }
    columns["currency"] = case((later.c.cost.is_not(None), later.c.currency), else_=generation.c.currency)
    return Numbers(columns, generation.outerjoin(later, later.c.uid == generation.c.uid))


async def find(connection: AsyncConnection, identity: str | None, any_id: str) -> Found | None:
    """See `ledger/questions.find`; with what its owner knew."""
    found = await questions.find(connection, identity, any_id)
    if found is not None:
        await _complete(connection, [found.record])
    return found


async def page(connection: AsyncConnection, which: RecordFilter, limit: int, cursor: str | None) -> Page:
    """See `ledger/questions.page`; with what the owners knew.

    Raises:
        ValueError: the cursor is not one that was given out here.
    """
    found = await questions.page(connection, which, limit, cursor)
    await _complete(connection, found.records)
    return found


async def _complete(connection: AsyncConnection, records: Sequence[Record]) -> None:
    cut_off = {record.uid: record for record in records if record.outcome is Outcome.INTERRUPTED}
    if not cut_off:
        return
    asked = select(truth).where(truth.c.uid.in_(cut_off), _OWNERS).order_by(truth.c.uid, truth.c.revision)
    newest = {row.uid: row for row in await connection.execute(asked)}
    for uid, said in newest.items():
        record = cut_off[uid]
        for name in TRUTH_COUNTS:
            if (count := getattr(said, name)) is not None:
                setattr(record, name, count)
        if said.cost is not None:
            record.cost, record.currency = cost_of(said.cost), said.currency
        if record.usage_source is UsageSource.NONE:  # how its owner came to them is not in a truth: the least they are
            record.usage_source = UsageSource.ESTIMATE


def _newest() -> Subquery:
    """The newest such truth of each record that is cut off: those are few, and have an index."""
    last = (
        select(truth.c.uid, func.max(truth.c.revision).label("revision"))
        .where(truth.c.uid.in_(select(generation.c.uid).where(_INTERRUPTED)), _OWNERS)
        .group_by(truth.c.uid)
        .subquery("last")
    )
    same = (truth.c.uid == last.c.uid) & (truth.c.revision == last.c.revision)
    return select(truth).join(last, same).subquery("later")
