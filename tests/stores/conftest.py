"""The conversation stores, for the tests of what each of them must do."""

import sqlite3
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from proxy.stores import ledger_transaction
from proxy.stores.conversations import Conversations
from proxy.stores.conversations_memory import MemoryConversations
from proxy.stores.ledger_gather import Gathered
from support.ledgers import a_ledger

KEEP = 1000.0
ASYNC_KEEP = 100.0


@pytest.fixture(params=["sqlite", "sqlite, each transaction written twice", "memory"])
async def store(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Conversations]:
    """The implementation under test.

    The answer to a transaction may get lost behind the commit; the writer then writes it again, and hears the second
    answer. Nobody may be able to tell.
    """
    if request.param == "memory":
        yield MemoryConversations(keep=KEEP, async_keep=ASYNC_KEEP)
        return
    if "twice" in request.param:
        monkeypatch.setattr(ledger_transaction, "_write", twice(ledger_transaction._write))
    async with a_ledger(tmp_path / "q.db", conversations_keep=KEEP, async_keep=ASYNC_KEEP) as ledger:
        yield ledger.conversations


def twice(write: Callable[[sqlite3.Connection, Gathered], list[int]]) -> Callable[..., list[int]]:
    """Write, and again."""

    def written(db: sqlite3.Connection, batch: Gathered) -> list[int]:
        write(db, batch)
        return write(db, batch)

    return written
