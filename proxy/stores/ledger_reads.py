"""What is asked of the ledger. Reads have connections of their own, so none of them waits for the writer."""

import base64
import json
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Select, event, func, select, tuple_
from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from proxy.core.lifecycle import Outcome
from proxy.core.receipt import LIST_TEXT
from proxy.core.record import Record
from proxy.stores.ledger_rows import clean, record_of
from proxy.stores.ledger_statements import COUNT_RECORDS, COUNT_SERVED, COUNT_TEXT, UNSETTLED
from proxy.stores.ports import LedgerUnavailableError, Page, RecordFilter
from proxy.stores.tables import generation, generation_text

_READERS: Final = 4
"""Connections, each with its thread. What takes long has others, see `reports`: stops look ids up here."""

_FOREIGN_CURSOR: Final = "cursor: not one that was given out here; leave it out to begin at the newest"

_at = generation.c
_RUNNING: Final = _at.outcome == Outcome.RUNNING.value
_NEWEST_FIRST: Final = (_at.started_at.desc(), _at.uid.desc())


class LedgerReads:
    """The reading half of the SQLite ledger; see `proxy.stores.ports.Ledger` for what the methods mean."""

    def __init__(self, path: Path) -> None:
        self._engine = create_async_engine(
            URL.create("sqlite+aiosqlite", database=str(path)),
            connect_args={"isolation_level": None},
            pool_size=_READERS,
            max_overflow=0,
        )
        event.listen(self._engine.sync_engine, "connect", _only_reads)
        event.listen(self._engine.sync_engine, "begin", _begin)

    async def find(self, identity: str | None, any_id: str) -> Record | None:
        """The newest record of that task id, else message id, else upstream id; None if there is none to be sure of."""
        wanted = clean(any_id)
        async with self.reading() as connection:
            for column in (_at.task_id, _at.message_id, _at.upstream_id):
                named = select(generation).where(column == wanted)
                if identity is not None:
                    named = named.where(_at.identity == clean(identity))
                if column is _at.upstream_id and await _is_ambiguous(connection, named):
                    return None
                row = (await connection.execute(named.order_by(*_NEWEST_FIRST).limit(1))).first()
                if row is not None:
                    return await _with_pieces(connection, record_of(row))
        return None

    async def unsettled(self, limit: int) -> list[Record]:
        """See `Ledger.unsettled`."""
        asked = select(generation).where(UNSETTLED).order_by(_at.uid).limit(limit)
        async with self.reading() as connection:
            return [record_of(row) for row in await connection.execute(asked)]

    async def ended_before(self, texts: float, records: float, served: int | None) -> tuple[int, int]:
        """How many with a text ended before `texts`, and how many of all, or of those served, before `records`."""
        of_all = (COUNT_RECORDS, (records,)) if served is None else (COUNT_SERVED, (records, served))
        async with self.reading() as connection:
            counted = [
                (await connection.exec_driver_sql(asked, values)).scalar_one()
                for asked, values in ((COUNT_TEXT, (texts,)), of_all)
            ]
        return counted[0], counted[1]

    async def page(self, which: RecordFilter, limit: int, cursor: str | None) -> Page:
        """A page, newest first. Running records come without their text; of a long one just enough to see that."""
        asked = _filtered(which).order_by(*_NEWEST_FIRST).limit(limit + 1)
        if cursor is not None:
            asked = asked.where(tuple_(_at.started_at, _at.uid) < tuple_(*_read_cursor(cursor)))
        async with self.reading() as connection:
            rows = (await connection.execute(asked)).all()
        records = [record_of(row) for row in rows[:limit]]
        return Page(records, _cursor(records[-1]) if len(rows) > limit else None)

    async def sizes(self, newest: int) -> list[tuple[str | None, str, int]]:
        """Model, route and completion tokens of the complete answers among so many newest records, oldest first."""
        looked_at = select(_at.model, _at.route, _at.completion_tokens, _at.outcome).order_by(*_NEWEST_FIRST)
        found = looked_at.limit(newest).subquery().c
        is_complete = found.outcome == Outcome.COMPLETED.value
        asked = select(found.model, found.route, found.completion_tokens).where(
            is_complete, found.completion_tokens > 0
        )
        async with self.reading() as connection:
            return [(row[0], row[1], row[2]) for row in reversed((await connection.execute(asked)).all())]

    async def close(self) -> None:
        """Close the connections, once nobody reads any more."""
        await self._engine.dispose()

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """A connection on one snapshot of the ledger.

        Raises:
            LedgerUnavailableError: it can't be read.
        """
        try:
            async with self._engine.connect() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise LedgerUnavailableError(f"the ledger can't be read: {getattr(error, 'orig', error)}") from error


def _only_reads(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA query_only = ON")
    cursor.execute("PRAGMA temp_store = MEMORY")
    cursor.close()


def _begin(connection: Connection) -> None:
    # Left alone, the driver gives each SELECT a snapshot of its own: a record and its pieces must be of one moment.
    connection.exec_driver_sql("BEGIN")


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
    begin_of_text = func.substr(_at.text, 1, LIST_TEXT + 1)
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
        tags = func.json_each(_at.tags).table_valued("key", "value")
        asked = asked.where(select(tags.c.key).where(tags.c.key == clean(name), tags.c.value == clean(value)).exists())
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
