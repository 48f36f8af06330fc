"""What has settled in all replicas, in the order in which it came to PostgreSQL, and what others say of it later."""

from collections.abc import Sequence
from functools import partial

from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncConnection

from proxy.core.settled import Truth
from proxy.stores.ledger.outbox import EVERYTHING, OutboxPage
from proxy.stores.ledger.outbox_sqlite import outbox_page
from proxy.stores.ledger.truths import Attached, Attachment, Drift, Told, Untold
from proxy.stores.ledger.truths_sqlite import drift_rows, looked_up, said_values, untold_rows
from proxy.stores.ledger.usage import Span
from proxy.stores.postgres import Postgres
from proxy.stores.shared_ledger import forward_statements as sql


class SharedVersions:
    """See `proxy.stores.ledger.outbox.Versions`."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def after(self, position: int, limit: int, span: Span = EVERYTHING, *, text: bool = False) -> OutboxPage:
        """See `Versions.after`."""
        asked = partial(outbox_page, position=position, limit=limit, span=span, text=text)
        async with self._postgres.reading() as connection:
            return await connection.run_sync(asked)


class SharedTruths:
    """See `proxy.stores.ledger.truths.Truths`. They go to PostgreSQL at once, whoever has the record."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def attach(self, told: Sequence[Told], *, dry_run: bool = False) -> list[Attachment]:
        """See `Truths.attach`. Of two equal ones in one call, the second is unchanged."""
        if dry_run:
            async with self._postgres.reading() as connection:
                return await connection.run_sync(looked_up, told)
        async with self._postgres.writing() as connection:
            await connection.execute(sql.LOCK)
            found = await connection.run_sync(looked_up, told)
            for place, (one, attachment) in enumerate(zip(told, found, strict=True)):
                if attachment.result is not Attached.ATTACHED or attachment.record is None:
                    continue
                if not await _attached(connection, attachment.record.uid, one.truth):
                    found[place] = Attachment(Attached.UNCHANGED, attachment.record)
            await connection.execute(sql.NOTE_END)
            return found

    async def untold(self, upstream: str, source: str, position: int, limit: int, span: Span) -> list[Untold]:
        """See `Truths.untold`."""

        def rows(connection: Connection) -> list[Untold]:
            return untold_rows(connection, upstream, source, position, limit, span)

        async with self._postgres.reading() as connection:
            return await connection.run_sync(rows)

    async def drift(self, span: Span) -> list[Drift]:
        """See `Truths.drift`."""
        async with self._postgres.reading() as connection:
            return await connection.run_sync(drift_rows, span)


async def _attached(connection: AsyncConnection, uid: str, said: Truth) -> bool:
    done = await connection.execute(sql.ATTACH_TRUTH, said_values(uid, said))
    await connection.execute(sql.SETTLE_TRUTHS, {"uid": uid})
    return done.rowcount > 0
