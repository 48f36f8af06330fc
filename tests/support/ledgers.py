"""Ledgers for tests: opened in a temporary folder, and closed whatever the test does."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from proxy.stores.ledger_sqlite import SqliteLedger, open_ledger


@asynccontextmanager
async def a_ledger(path: Path, **settings: Any) -> AsyncIterator[SqliteLedger]:
    """A ledger with short retention; settings as for `open_ledger`."""
    known: dict[str, Any] = {"text": "partial", "keep": 1000.0, "text_keep": 100.0, "now": 5000.0, "replica": "one"}
    ledger = await open_ledger(f"sqlite:///{path}", **(known | settings))
    try:
        yield ledger
    finally:
        await ledger.close()
