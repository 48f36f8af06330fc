"""Purging the shared ledger: nothing goes before its own clock says so. A process's may be wrong."""

from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncConnection

from proxy.core.lifecycle import Outcome
from proxy.stores.ledger.statements import count_records, count_text, purge_records, purge_text
from proxy.stores.postgres import Postgres
from proxy.stores.shared_ledger.forward_statements import LOCK, NOTE_WIPED, NOW
from proxy.stores.tables import generation, wiped

PURGED_AT_ONCE: Final = 1000
"""Records of one transaction."""

_purge_text: Final = purge_text.returning(generation.c.uid)
_purge_records: Final = purge_records.returning(generation.c.uid, generation.c.outcome)


@dataclass(frozen=True, slots=True)
class Kept:
    """Seconds after its end that a record stays, and its text."""

    records: float
    texts: float


async def not_ahead(connection: AsyncConnection, now: float) -> float:
    """What a process takes for now (seconds since the epoch), or the database's clock where that is behind it."""
    return min(now, float(await connection.scalar(select(NOW)) or 0.0))


async def purge_shared(postgres: Postgres, kept: Kept, now: float, before: float | None) -> tuple[int, int]:
    """Delete what is older than it is kept, or what ended before then; gives how many texts and records.

    What an operator deletes by `before` is noted as wiped, so that the owners' files follow, and what comes late of it
    stays without its text. Such notes go once they are as old as a record may be, whatever `before` is.

    Raises:
        LedgerUnavailableError: PostgreSQL can't be reached; what was deleted before stays deleted.
    """
    async with postgres.reading() as connection:
        now = await not_ahead(connection, now)
    texts, records = _bounds(now, kept, before)
    wiped_texts = await _purge(postgres, _purge_text, texts, notes=before is not None)
    deleted = await _purge(postgres, _purge_records, records, notes=before is not None)
    async with postgres.writing() as connection:
        await connection.execute(delete(wiped).where(wiped.c.at < now - kept.records))
    return wiped_texts, deleted


async def count_old(connection: AsyncConnection, kept: Kept, now: float, before: float | None) -> tuple[int, int]:
    """How many texts and records that would delete."""
    texts, records = _bounds(await not_ahead(connection, now), kept, before)
    counted = [
        await connection.scalar(asked, {"before": bound}) or 0
        for asked, bound in ((count_text, texts), (count_records, records))
    ]
    return counted[0], counted[1]


def _bounds(now: float, kept: Kept, before: float | None) -> tuple[float, float]:
    return (now - kept.texts, now - kept.records) if before is None else (before, before)


async def _purge(postgres: Postgres, statement: Any, before: float, *, notes: bool) -> int:
    total = 0
    while True:
        async with postgres.writing() as connection:
            done = (await connection.execute(statement, {"before": before, "many": PURGED_AT_ONCE})).all()
            if notes:
                await _note(connection, [row.uid for row in done if _may_have_text(row)])
        total += len(done)
        if len(done) < PURGED_AT_ONCE:
            return total


def _may_have_text(row: Any) -> bool:
    """Whether its owner may have a text of it: of a deleted record that had one, that has just been taken."""
    return "outcome" not in row._fields or row.outcome == Outcome.INTERRUPTED.value


async def _note(connection: AsyncConnection, uids: list[str]) -> None:
    if uids:
        await connection.execute(LOCK)
        await connection.execute(NOTE_WIPED, {"uids": uids})
