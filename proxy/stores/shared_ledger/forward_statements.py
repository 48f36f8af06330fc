"""What the forwarder says to PostgreSQL. Each statement may run again with the same values and give the same ledger.

Records go as one JSON array: however many they are, a statement has one value, and is compiled once.
"""

from typing import Any, Final

from sqlalchemy import (
    ARRAY,
    JSON,
    BindParameter,
    ColumnElement,
    Float,
    Text,
    and_,
    any_,
    bindparam,
    cast,
    column,
    delete,
    exists,
    func,
    literal_column,
    null,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert

from proxy.stores.column_types import TEXT, WHOLE
from proxy.stores.ledger.outbox_sqlite import END
from proxy.stores.ledger.statements import attach_truth, settle_truths
from proxy.stores.tables import consumer, generation, lease, running, settled, spool, wiped

SETTLE_LOCK: Final = 0x5175656C6C02
"""The advisory lock of whoever gives out numbers: they are committed in their order, so that a reader misses none."""

_NAMES: Final = [each.name for each in generation.columns]
_UIDS: BindParameter[Any] = bindparam("uids", type_=ARRAY(Text))
_GIVEN: ColumnElement[bool] = generation.c.uid == any_(_UIDS)
IS_RUNNING: Final = generation.c.outcome == literal_column("'running'")
_AT: BindParameter[float] = bindparam("at", type_=Float)
NOW: Final[ColumnElement[float]] = cast(func.extract("epoch", func.clock_timestamp()), Float)
"""The database's clock, in seconds since the epoch."""

_fresh = func.json_populate_recordset(
    literal_column("NULL::generation"), cast(bindparam("rows", type_=Text), JSON)
).table_valued(*(column(each.name, each.type) for each in generation.columns), name="fresh")
_given_uids = (
    func.unnest(_UIDS).table_valued(column("uid", TEXT), with_ordinality="place", name="given").render_derived()
)
_insert_records = insert(generation).from_select(_NAMES, select(*(_fresh.c[name] for name in _NAMES)))

ENDED: Final = _insert_records.on_conflict_do_update(
    index_elements=[generation.c.uid],
    set_={name: _insert_records.excluded[name] for name in _NAMES if name != "uid"},
    where=IS_RUNNING,
).returning(generation.c.uid)
"""`rows`. Puts ended records in; of those that are there, only a running one is changed. Gives whose was taken."""

LATE_TEXTS: Final = (
    update(generation)
    .where(
        generation.c.uid == _fresh.c.uid,
        generation.c.outcome == literal_column("'interrupted'"),
        generation.c.text.is_(None),
    )
    .values(text=_fresh.c.text, text_clipped=_fresh.c.text_clipped)
)
"""`rows`. Gives records that others ended their owners' texts; one that was deleted must be so again behind it."""

STARTED: Final = _insert_records.on_conflict_do_nothing()
"""`rows`. Puts running records in."""

RUN: Final = (
    insert(running)
    .from_select(
        ["uid", "replica", "boot"],
        select(generation.c.uid, bindparam("whose", type_=TEXT), bindparam("life", type_=TEXT)).where(
            _GIVEN, IS_RUNNING
        ),
    )
    .on_conflict_do_nothing()
)
"""`uids`, `whose`, `life`. Says who runs them."""

RUNS_NO_MORE: Final = delete(running).where(running.c.uid == any_(_UIDS))
"""`uids`."""

LOCK: Final = select(func.pg_advisory_xact_lock(SETTLE_LOCK))
"""What is settled or wiped from here to the end of the transaction is so before or after all others."""

_placed = select(_given_uids.c.uid, literal_column("1")).order_by(_given_uids.c.place)
SETTLED: Final = insert(settled).from_select(["uid", "revision"], _placed).on_conflict_do_nothing()
"""`uids`, in their order, of records that have ended."""

ATTACH_TRUTH: Final = attach_truth(insert)
SETTLE_TRUTHS: Final = settle_truths(insert)
"""See `ledger/statements`."""

_most: ColumnElement[int] = func.max(settled.c.number)
_end: ColumnElement[str] = literal_column(f"'{END}'")
_last = select(_end, _most).having(_most.is_not(None))
_note_end = insert(consumer).from_select(["name", "number"], _last)
NOTE_END: Final = _note_end.on_conflict_do_update(
    index_elements=[consumer.c.name],
    set_={"number": _note_end.excluded.number},
    where=_note_end.excluded.number > consumer.c.number,
)
"""Notes the last number, behind the lock: whoever read up to it has missed nothing."""

WIPE: Final = update(generation).where(_GIVEN).values(text=null())
"""`uids`. Deletes their texts."""

NOTE_WIPED: Final = (
    insert(wiped)
    .from_select(["at", "uid"], select(NOW, _given_uids.c.uid).order_by(_given_uids.c.place))
    .on_conflict_do_nothing()
)
"""`uids`. Remembers whose texts were deleted, once, by the database's clock: by that it is forgotten too."""

STAY_WIPED: Final = (
    update(generation)
    .where(_GIVEN, generation.c.text.is_not(None), select(wiped.c.uid).where(wiped.c.uid == generation.c.uid).exists())
    .values(text=null())
)
"""`uids`. A text that was deleted before it came is deleted."""

_place = insert(spool).values(
    id=bindparam("spool", type_=TEXT), replica=bindparam("whose", type_=TEXT), number=bindparam("upto", type_=WHOLE)
)
PLACE: Final = _place.on_conflict_do_update(
    index_elements=[spool.c.id], set_={"replica": _place.excluded.replica, "number": _place.excluded.number}
)
"""`spool`, `whose`, `upto`. How far a spool was forwarded, in the same transaction."""

PLACE_OF: Final = select(spool.c.number).where(spool.c.id == bindparam("spool", type_=TEXT))

SPOOL_OF: Final = select(spool.c.id).where(spool.c.replica == bindparam("whose", type_=TEXT)).limit(1)
"""`whose`. A spool that a replica has forwarded."""

OTHERS: Final = select(generation).where(_GIVEN)
"""`uids`. Records as they are here."""

NEWLY_WIPED: Final = (
    select(wiped.c.number, wiped.c.uid)
    .where(wiped.c.number > bindparam("behind", type_=WHOLE))
    .order_by(wiped.c.number)
    .limit(bindparam("most", type_=WHOLE))
)

_LIFE = bindparam("life", type_=TEXT)
# By the time at which the transaction began: the two statements that say this must mean the same lives.
_LEASED = exists().where(
    lease.c.owner == running.c.boot, lease.c.until > cast(func.extract("epoch", func.now()), Float)
)
_OTHER_LIVES = and_(running.c.replica == bindparam("whose", type_=TEXT), running.c.boot != _LIFE, ~_LEASED)
_THAT_LIFE = running.c.boot == _LIFE


def _interrupt(which: ColumnElement[bool]) -> Any:
    return (
        update(generation)
        .where(generation.c.uid.in_(select(running.c.uid).where(which)), IS_RUNNING)
        .values(
            outcome=literal_column("'interrupted'"),
            # A clock that is behind must not end it before it began.
            ended_at=func.greatest(_AT, generation.c.started_at, func.coalesce(generation.c.first_token_at, _AT)),
        )
        .returning(generation.c.uid, generation.c.route, generation.c.upstream)
    )


INTERRUPT: Final = _interrupt(_OTHER_LIVES), delete(running).where(_OTHER_LIVES)
"""`whose`, `life`, `at`. Ends what a replica ran in another life than that one, whose lease is over. Of two who try it,
one does. A life that has a lease may live: two processes may have one name by mistake."""

WHOSE_LIFE: Final = select(running.c.replica).where(_THAT_LIFE).limit(1)
"""`life`. The replica whose life that is, if anything ran in it."""

INTERRUPT_LIFE: Final = _interrupt(_THAT_LIFE), delete(running).where(_THAT_LIFE)
"""`life`, `at`. The same of what ran in one life."""
