"""What the writer says to SQLite, compiled once from the tables.

Each statement may run twice with the same values and give the same ledger: a transaction whose answer was lost is
simply written again.
"""

from typing import Any, Final, Literal

from sqlalchemy import (
    BindParameter,
    ClauseElement,
    ColumnElement,
    ScalarSelect,
    bindparam,
    delete,
    func,
    literal_column,
    select,
    update,
)
from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.sqlite import insert

from proxy.stores.tables import consumer, generation, generation_text, settled, truth

_RUNNING = generation.c.outcome == literal_column("'running'")
_UID: BindParameter[str] = bindparam("uid")


def _sql(statement: ClauseElement, paramstyle: Literal["qmark", "named"] = "qmark") -> str:
    return str(statement.compile(dialect=sqlite.dialect(paramstyle=paramstyle)))


def _pieces_joined() -> ScalarSelect[Any]:
    pieces = (
        select(generation_text.c.piece)
        .where(generation_text.c.uid == literal_column("excluded.uid"))
        .order_by(generation_text.c.offset)
        .subquery()
    )
    return select(func.group_concat(pieces.c.piece, literal_column("''"))).scalar_subquery()


def _end() -> str:
    fresh = insert(generation)
    values: dict[str, ColumnElement[Any]] = {
        column.name: fresh.excluded[column.name] for column in generation.columns if not column.primary_key
    }
    values["text"] = func.coalesce(fresh.excluded["text"], _pieces_joined())
    return _sql(fresh.on_conflict_do_update(index_elements=[generation.c.uid], set_=values, where=_RUNNING))


def _piece() -> str:
    fresh = insert(generation_text)
    return _sql(
        fresh.on_conflict_do_update(
            index_elements=[generation_text.c.uid, generation_text.c.offset],
            set_={"piece": fresh.excluded.piece},
        )
    )


def _advance() -> str:
    fresh = insert(consumer)
    further = fresh.excluded.number > consumer.c.number
    values = {"number": fresh.excluded.number}
    return _sql(fresh.on_conflict_do_update(index_elements=[consumer.c.name], set_=values, where=further))


def _attach_truth() -> str:
    said: dict[str, ColumnElement[Any]] = {
        column.name: bindparam(column.name, type_=column.type) for column in truth.columns if column.name != "revision"
    }
    last = func.coalesce(func.max(settled.c.revision), literal_column("1"))
    next_one = select(last + literal_column("1")).where(settled.c.uid == said["uid"]).scalar_subquery()
    compared = [truth.c[name].is_not_distinct_from(value) for name, value in said.items() if name != "at"]
    again = select(truth.c.uid).where(*compared).exists()
    values = [said["uid"], next_one, *(value for name, value in said.items() if name != "uid")]
    ended = select(*values).where(generation.c.uid == said["uid"], ~_RUNNING, ~again)
    return _sql(insert(truth).from_select([column.name for column in truth.columns], ended), "named")


def _settle_truths() -> str:
    uid: BindParameter[str] = bindparam("uid")
    rows = select(truth.c.uid, truth.c.revision).where(truth.c.uid == uid)
    return _sql(insert(settled).from_select(["uid", "revision"], rows).on_conflict_do_nothing(), "named")


START: Final = _sql(insert(generation).on_conflict_do_nothing())
"""Values: a row. A uid that is there already stays as it is."""

PIECE: Final = _piece()
"""Values: uid, offset in characters, text."""

END: Final = _end()
"""Values: a row. Changes a running record only; one whose START was given up is put in as it ended. Without a text
of its own it takes the pieces, joined."""

SETTLED: Final = _sql(
    insert(settled)
    .from_select(
        ["uid", "revision"],
        select(generation.c.uid, literal_column("1")).where(generation.c.uid == _UID, ~_RUNNING),
    )
    .on_conflict_do_nothing()
)
"""Values: uid. Notes the end of a record that has ended, once."""

DROP_PIECES: Final = _sql(delete(generation_text).where(generation_text.c.uid == _UID))
"""Values: uid."""

WITHDRAW: Final = _sql(delete(generation).where(generation.c.uid == _UID, _RUNNING))
"""Values: uid. Takes back a START that came to the disk after its caller had been told that it failed."""

WIPE_TEXT: Final = _sql(update(generation).where(generation.c.uid == _UID).values(text=literal_column("NULL")))
"""Values: uid."""

_BEFORE: BindParameter[float] = bindparam("before")
_MANY: BindParameter[int] = bindparam("many")

PURGE_TEXT: Final = _sql(
    update(generation)
    .where(
        generation.c.uid.in_(
            select(generation.c.uid).where(generation.c.text.is_not(None), generation.c.ended_at < _BEFORE).limit(_MANY)
        )
    )
    .values(text=literal_column("NULL"))
)
"""Values: the time before which a record ended, how many at most, 0."""


def _purge_records(*, spares: bool) -> str:
    old = select(generation.c.uid).where(generation.c.ended_at.is_not(None), generation.c.ended_at < _BEFORE, ~_RUNNING)
    if spares:
        unserved = select(settled.c.uid).where(settled.c.uid == generation.c.uid, settled.c.number > bindparam("from"))
        old = old.where(~unserved.exists())
    return _sql(delete(generation).where(generation.c.uid.in_(old.limit(_MANY))))


PURGE_RECORDS: Final = _purge_records(spares=False)
"""Values: as for `PURGE_TEXT`."""

PURGE_SERVED: Final = _purge_records(spares=True)
"""Values: the time before which a record ended, the position behind which it was not served, how many at most, 0."""

ADVANCE: Final = _advance()
"""Values: a consumer's name, its position. It never goes back."""

ATTACH_TRUTH: Final = _attach_truth()
"""Values: by name, as the columns of `truth` without the revision. Makes the next one, unless its record does not
exist or still runs, or the source has said the same of it before."""

SETTLE_TRUTHS: Final = _settle_truths()
"""Values: uid, by name. Notes each truth of a record, once."""
