"""What is asked of the ledger. Reads have connections of their own, so none of them waits for the writer."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, event, select
from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from proxy.core.lifecycle import Outcome
from proxy.core.record import Record
from proxy.stores.ledger.port import LedgerUnavailableError, Page, RecordFilter
from proxy.stores.ledger.questions import NEWEST_FIRST, Found, find, page
from proxy.stores.ledger.rows import record_of
from proxy.stores.ledger.statements import COUNT_RECORDS, COUNT_SERVED, COUNT_TEXT, UNSETTLED
from proxy.stores.tables import generation

_READERS: Final = 4
"""Connections, each with its thread. What takes long has others, see `reports`: stops look ids up here."""

_at = generation.c


class LedgerReads:
    """The reading half of the SQLite ledger; see `proxy.stores.ledger.port.Ledger` for what the methods mean."""

    def __init__(self, path: Path) -> None:
        self._engine = create_async_engine(
            URL.create("sqlite+aiosqlite", database=str(path)),
            connect_args={"isolation_level": None},
            pool_size=_READERS,
            max_overflow=0,
        )
        event.listen(self._engine.sync_engine, "connect", _only_reads)
        event.listen(self._engine.sync_engine, "begin", _begin)

    async def find(self, identity: str | None, any_id: str) -> Found | None:
        """The record that an id names, see `questions.find`."""
        async with self.reading() as connection:
            return await find(connection, identity, any_id)

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
        """A page of records, see `questions.page`."""
        async with self.reading() as connection:
            return await page(connection, which, limit, cursor)

    async def sizes(self, newest: int) -> list[tuple[str | None, str, int]]:
        """Model, route and completion tokens of the complete answers among so many newest records, oldest first."""
        looked_at = select(_at.model, _at.route, _at.completion_tokens, _at.outcome).order_by(*NEWEST_FIRST)
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
