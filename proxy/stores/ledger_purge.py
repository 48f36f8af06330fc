"""Purging a ledger that no process holds."""

from pathlib import Path
from typing import Final

from proxy.core.settings_sections import LedgerSettings
from proxy.stores.ledger_sqlite import open_ledger
from proxy.stores.ledger_statements import COUNT_RECORDS, COUNT_TEXT
from proxy.stores.ledger_verify import reading

NAME: Final = "purge"
"""As whom the ledger is held meanwhile."""


async def purge_file(path: Path, settings: LedgerSettings, now: float, before: float | None) -> tuple[int, int]:
    """Do what `Ledger.purge` does. Holds the ledger meanwhile, and ends what a dead process left, as a start does.

    Whoever was ever served from this ledger may come back for the rest: what he was not served yet stays.

    Raises:
        LedgerOpenError: it can't be opened; `LedgerLockedError` if a process holds it.
        LedgerUnavailableError: the disk refuses.
    """
    ledger = await open_ledger(
        f"sqlite:///{path}",
        text=settings.text,
        keep=settings.keep,
        text_keep=settings.text_keep,
        now=now,
        replica=NAME,
    )
    try:
        for consumer in await ledger.outbox.consumers():
            ledger.outbox.hold(consumer, held=True)
        return await ledger.purge(now, before=before)
    finally:
        await ledger.close()


def count_in_file(path: Path, settings: LedgerSettings, now: float, before: float | None) -> tuple[int, int]:
    """How many texts and records that would delete. The file is not changed.

    Raises:
        sqlite3.Error: it can't be read.
    """
    texts, records = (now - settings.text_keep, now - settings.keep) if before is None else (before, before)
    with reading(path) as db:
        counted = [
            db.execute(asked, (at,)).fetchone()[0] for asked, at in ((COUNT_TEXT, texts), (COUNT_RECORDS, records))
        ]
        return counted[0], counted[1]
