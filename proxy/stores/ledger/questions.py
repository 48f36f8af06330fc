"""What is asked of records one by one, in either database: which one an id names, and lists, newest first."""

import base64
import json
import math
from typing import Any, Final, NamedTuple

from sqlalchemy import Select, func, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from proxy.core.lifecycle import Outcome
from proxy.core.receipt import LIST_TEXT
from proxy.core.record import Record
from proxy.stores.both_sql import tag_value
from proxy.stores.ledger.port import Page, RecordFilter
from proxy.stores.ledger.rows import clean, record_of
from proxy.stores.tables import generation, generation_text

_FOREIGN_CURSOR: Final = "cursor: not one that was given out here; leave it out to begin at the newest"

_at = generation.c
_RUNNING: Final = _at.outcome == Outcome.RUNNING.value
NEWEST_FIRST: Final = (_at.started_at.desc(), _at.uid.desc())
_NAMES: Final = (_at.task_id, _at.message_id, _at.upstream_id)
"""By what an id names a record, in this order."""


class Found(NamedTuple):
    """A record that an id names; `rank`: 0 it is its task id, 1 its message id, 2 its upstream id."""

    rank: int
    record: Record


async def find(connection: AsyncConnection, identity: str | None, any_id: str) -> Found | None:
    """The newest record of that task id, else message id, else upstream id; None if there is none to be sure of."""
    wanted = clean(any_id)
    for rank, column in enumerate(_NAMES):
        named = select(generation).where(column == wanted)
        if identity is not None:
            named = named.where(_at.identity == clean(identity))
        if column is _at.upstream_id and await _is_ambiguous(connection, named):
            return None
        row = (await connection.execute(named.order_by(*NEWEST_FIRST).limit(1))).first()
        if row is not None:
            return Found(rank, await _with_pieces(connection, record_of(row)))
    return None


async def page(connection: AsyncConnection, which: RecordFilter, limit: int, cursor: str | None) -> Page:
    """A page, newest first. Running records come without their text; of a long one just enough to see that.

    Raises:
        ValueError: the cursor is not one that was given out here.
    """
    asked = _filtered(which).order_by(*NEWEST_FIRST).limit(limit + 1)
    if cursor is not None:
        asked = asked.where(tuple_(_at.started_at, _at.uid) < tuple_(*_read_cursor(cursor)))
    rows = (await connection.execute(asked)).all()
    records = [record_of(row) for row in rows[:limit]]
    for record in records:
        record.text = None if record.text is None else record.text[: LIST_TEXT + 1]
    return Page(records, _cursor(records[-1]) if len(rows) > limit else None)


async def _is_ambiguous(connection: AsyncConnection, named: Select[Any]) -> bool:
    live = named.where(_RUNNING).with_only_columns(_at.uid).limit(2)
    return len((await connection.execute(live)).all()) > 1


async def _with_pieces(connection: AsyncConnection, record: Record) -> Record:
    if record.outcome is Outcome.RUNNING:
        pieces = select(generation_text.c.piece).where(generation_text.c.uid == record.uid)
        found = (await connection.scalars(pieces.order_by(generation_text.c.offset))).all()
        record.text = "".join(found) if found else None
    return record


def _filtered(which: RecordFilter) -> Select[Any]:
    # In PostgreSQL a character may be escaped, and then is two.
    begin_of_text = func.substr(_at.text, 1, 2 * (LIST_TEXT + 1), type_=_at.text.type)
    asked = select(*(begin_of_text if column is _at.text else column for column in _at))
    for column, value in (
        (_at.identity, which.identity),
        (_at.user, which.user),
        (_at.key_id, which.key_id),
        (_at.route, which.route),
        (_at.model, which.model),
    ):
        if value is not None:
            asked = asked.where(column == clean(value))
    if which.tag is not None:
        name, value = which.tag
        asked = asked.where(tag_value(_at.tags, clean(name)) == clean(value))
    if which.state is not None:
        asked = asked.where(_RUNNING if which.state == "live" else ~_RUNNING)
    if which.started_before is not None:
        asked = asked.where(_at.started_at < which.started_before)
    return asked


def _cursor(record: Record) -> str:
    return base64.urlsafe_b64encode(json.dumps([record.started_at, record.uid]).encode()).decode().rstrip("=")


def _read_cursor(cursor: str) -> tuple[float, str]:
    try:
        started_at, uid = json.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True))
        found = float(started_at), clean(str(uid))
    except (ValueError, TypeError, OverflowError, RecursionError):
        raise ValueError(_FOREIGN_CURSOR) from None
    if not math.isfinite(found[0]):
        raise ValueError(_FOREIGN_CURSOR)
    return found
