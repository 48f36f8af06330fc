"""Ledgers for tests: opened in a temporary folder, and closed whatever the test does; and what is in their files."""

import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Any

from proxy.stores.ledger.sqlite import SqliteLedger
from proxy.stores.ledger.sqlite_open import open_ledger
from support.wait import eventually

TABLES = ("thread", "message", "message_text", "item", "deletion")


@asynccontextmanager
async def a_ledger(path: Path, **settings: Any) -> AsyncIterator[SqliteLedger]:
    """A ledger with short retention; settings as for `open_ledger`."""
    known: dict[str, Any] = {"text": "partial", "keep": 1000.0, "text_keep": 100.0, "now": 5000.0, "replica": "one"}
    ledger = await open_ledger(f"sqlite:///{path}", **(known | settings))
    try:
        yield ledger
    finally:
        await ledger.close()


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Another program holds the write lock meanwhile."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


def rows(path: Path) -> dict[str, int]:
    """How many rows there are in each table that has any."""
    with closing(sqlite3.connect(path)) as connection:
        counts = {name: connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in TABLES}  # noqa: S608
    return {name: count for name, count in counts.items() if count}


async def all_written(ledger: SqliteLedger) -> None:
    """Wait until nothing waits for the disk."""
    await eventually(lambda: ledger.healthy and not ledger.pending, what="everything is written")


async def failing(ledger: SqliteLedger) -> None:
    """Wait until a transaction has failed since now."""
    before = ledger.transactions[1]
    await eventually(lambda: ledger.transactions[1] > before, what="a transaction fails")
