"""What the writer says to SQLite, compiled once from the tables.

Each statement may run twice with the same values and give the same ledger: a transaction whose answer was lost is
simply written again.
"""

from collections.abc import Callable
from typing import Any, Final, Literal

from sqlalchemy import (
    BindParameter,
    ClauseElement,
    ColumnElement,
    Delete,
    Insert,
    ScalarSelect,
    Table,
    bindparam,
    delete,
    func,
    literal_column,
    select,
    update,
)
from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.sqlite import insert

from proxy.stores.tables import consumer, generation, generation_text, settled, spool, truth, wiped

_RUNNING = generation.c.outcome == literal_column("'running'")
_UID: BindParameter[str] = bindparam("uid")


def compiled(statement: ClauseElement, paramstyle: Literal["qmark", "named"] = "qmark") -> str:
    """The statement as text, its values by place or by name."""
    return str(statement.compile(dialect=sqlite.dialect(paramstyle=paramstyle)))


def _set(names: tuple[str, ...], which: ColumnElement[bool]) -> str:
    """Set these columns, their values in this order and then the uid, where the record is one of `which`."""
    values: list[tuple[Any, BindParameter[Any]]] = [(generation.c[name], bindparam(f"new_{name}")) for name in names]
    return compiled(update(generation).ordered_values(*values).where(generation.c.uid == _UID, which))


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
    return compiled(fresh.on_conflict_do_update(index_elements=[generation.c.uid], set_=values, where=_RUNNING))


def _piece() -> str:
    fresh = insert(generation_text)
    return compiled(
        fresh.on_conflict_do_update(
            index_elements=[generation_text.c.uid, generation_text.c.offset],
            set_={"piece": fresh.excluded.piece},
        )
    )


def _advance(*, only_further: bool) -> str:
    fresh = insert(consumer)
    further = fresh.excluded.number > consumer.c.number if only_further else None
    values = {"number": fresh.excluded.number}
    return compiled(fresh.on_conflict_do_update(index_elements=[consumer.c.name], set_=values, where=further))


def _name_spool() -> str:
    name: list[BindParameter[Any]] = [bindparam("id"), bindparam("replica")]
    first = select(*name, literal_column("0")).where(~select(spool.c.id).exists())
    return compiled(insert(spool).from_select(["id", "replica", "number"], first))


def attach_truth(insert: Callable[[Table], Insert]) -> Insert:
    """The statement `ATTACH_TRUTH`, in the words of a database."""
    said: dict[str, ColumnElement[Any]] = {
        column.name: bindparam(column.name, type_=column.type) for column in truth.columns if column.name != "revision"
    }
    last = func.coalesce(func.max(settled.c.revision), literal_column("1"))
    next_one = select(last + literal_column("1")).where(settled.c.uid == said["uid"]).scalar_subquery()
    compared = [truth.c[name].is_not_distinct_from(value) for name, value in said.items() if name != "at"]
    again = select(truth.c.uid).where(*compared).exists()
    values = [said["uid"], next_one, *(value for name, value in said.items() if name != "uid")]
    ended = select(*values).where(generation.c.uid == said["uid"], ~_RUNNING, ~UNSETTLED, ~again)
    return insert(truth).from_select([column.name for column in truth.columns], ended)


def settle_truths(insert: Callable[[Table], Any]) -> Any:
    """The statement `SETTLE_TRUTHS`, in the words of a database."""
    uid: BindParameter[str] = bindparam("uid")
    rows = select(truth.c.uid, truth.c.revision).where(truth.c.uid == uid)
    return insert(settled).from_select(["uid", "revision"], rows).on_conflict_do_nothing()


START: Final = compiled(insert(generation).on_conflict_do_nothing())
"""Values: a row. A uid that is there already stays as it is."""

NOTE: Final = _set(
    (
        *("phase", "upstream_id", "upstream_model", "first_token_at"),
        *("prompt_tokens", "completion_tokens", "cached_tokens", "reasoning_tokens", "usage_source"),
        *("characters", "text_clipped"),
    ),
    _RUNNING,
)
"""Values: as named, then uid. What is known of a running record."""

STOP: Final = _set(
    (
        *("phase", "upstream_id", "upstream_model", "first_token_at", "cause", "cancelled_by", "reason"),
        *("prompt_tokens", "completion_tokens", "cached_tokens", "reasoning_tokens", "usage_source", "encoding"),
        *("cost", "currency", "price", "characters", "text_clipped", "elapsed_seconds"),
        *("late_tokens", "saved_most", "saved_typical"),
    ),
    _RUNNING,
)
"""Values: as named, then uid. How a running record ends if nothing more is heard of it."""

PIECE: Final = _piece()
"""Values: uid, offset in characters, text."""

END: Final = _end()
"""Values: a row. Changes a running record only; one whose START was given up is put in as it ended. Without a text
of its own it takes the pieces, joined."""

SETTLED: Final = compiled(
    insert(settled)
    .from_select(
        ["uid", "revision"],
        select(generation.c.uid, literal_column("1")).where(generation.c.uid == _UID, ~_RUNNING),
    )
    .on_conflict_do_nothing()
)
"""Values: uid. Notes the end of a record that has ended, once."""

UNSETTLED: Final = (generation.c.outcome == literal_column("'interrupted'")) & ~(
    select(settled.c.uid).where(settled.c.uid == generation.c.uid).exists()
)
"""Which records are cut off and not yet settled: their tokens or their cost are still to be found."""

COUNTED: Final = _set(
    (
        *("prompt_tokens", "completion_tokens", "cached_tokens", "reasoning_tokens", "usage_source", "encoding"),
        *("cost", "currency", "price", "characters"),
    ),
    UNSETTLED,
)
"""Values: as named, then uid. The numbers of a record that is not settled; once it is, nothing changes."""

DROP_PIECES: Final = compiled(delete(generation_text).where(generation_text.c.uid == _UID))
"""Values: uid."""

WITHDRAW: Final = compiled(delete(generation).where(generation.c.uid == _UID, _RUNNING))
"""Values: uid. Takes back a START that came to the disk after its caller had been told that it failed."""

WIPE_TEXT: Final = compiled(update(generation).where(generation.c.uid == _UID).values(text=literal_column("NULL")))
"""Values: uid."""

NOTE_WIPED: Final = compiled(insert(wiped).values(at=bindparam("at"), uid=_UID).on_conflict_do_nothing())
"""Values: when, uid. Notes that a record's text was deleted, once."""

FORGET_WIPED: Final = compiled(delete(wiped).where(wiped.c.number <= bindparam("upto")))
"""Values: a number. Those up to it are known to all who share the ledger."""

NAME_SPOOL: Final = _name_spool()
"""Values: a name for the file, whose it is. It keeps the one it has."""

_BEFORE: BindParameter[float] = bindparam("before")
_MANY: BindParameter[int] = bindparam("many")

_OLD_TEXT: Final = (generation.c.text.is_not(None), generation.c.ended_at < _BEFORE, ~UNSETTLED)
_OLD: Final = (generation.c.ended_at.is_not(None), generation.c.ended_at < _BEFORE, ~_RUNNING, ~UNSETTLED)
"""What a purge may take: not what a kill cut off, before it is counted and given out."""

count_text: Final = select(func.count()).select_from(generation).where(*_OLD_TEXT)
COUNT_TEXT: Final = compiled(count_text)
"""Values: the time before which a record ended."""


def _over(*, spares: bool) -> tuple[ColumnElement[bool], ...]:
    """Records that ended long ago; `spares`: without what a consumer was not served."""
    if not spares:
        return _OLD
    unserved = select(settled.c.uid).where(settled.c.uid == generation.c.uid, settled.c.number > bindparam("from"))
    return (*_OLD, ~unserved.exists())


count_records: Final = select(func.count()).select_from(generation).where(*_over(spares=False))
COUNT_RECORDS: Final = compiled(count_records)
"""Values: as for `COUNT_TEXT`."""

COUNT_SERVED: Final = compiled(select(func.count()).select_from(generation).where(*_over(spares=True)))
"""Values: the time before which a record ended, the position behind which it was not served."""

purge_text: Final = (
    update(generation)
    .where(generation.c.uid.in_(select(generation.c.uid).where(*_OLD_TEXT).limit(_MANY)))
    .values(text=literal_column("NULL"))
)
PURGE_TEXT: Final = compiled(purge_text)
"""Values: the time before which a record ended, how many at most, 0."""


def _purge_records(*, spares: bool) -> Delete:
    old = select(generation.c.uid).where(*_over(spares=spares))
    return delete(generation).where(generation.c.uid.in_(old.limit(_MANY)))


purge_records: Final = _purge_records(spares=False)
PURGE_RECORDS: Final = compiled(purge_records)
"""Values: as for `PURGE_TEXT`."""

PURGE_SERVED: Final = compiled(_purge_records(spares=True))
"""Values: the time before which a record ended, the position behind which it was not served, how many at most, 0."""

REWIND: Final = _advance(only_further=False)
"""Values: as for `ADVANCE`. It may go back: the database that was forwarded to may be another one now."""

ADVANCE: Final = _advance(only_further=True)
"""Values: a consumer's name, its position. It never goes back."""

ATTACH_TRUTH: Final = compiled(attach_truth(insert), "named")
"""Values: by name, as the columns of `truth` without the revision. Makes the next one, unless its record does not
exist, still runs or is not settled, or the source has said the same of it before."""

SETTLE_TRUTHS: Final = compiled(settle_truths(insert), "named")
"""Values: uid, by name. Notes each truth of a record, once."""
