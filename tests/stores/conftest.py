"""The conversation stores, for the tests of what each of them must do."""

import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from proxy.stores.conversations.memory import MemoryConversations
from proxy.stores.conversations.port import Conversations
from proxy.stores.conversations.postgres_writes import PostgresWrites
from proxy.stores.ledger import transaction as ledger_transaction
from proxy.stores.ledger.gather import Gathered
from support.ledgers import a_ledger
from support.postgres import Database, PostgresServer
from support.shared import shared_conversations

KEEP = 1000.0
ASYNC_KEEP = 100.0
TWICE = ", each transaction written twice"


@pytest.fixture(params=["sqlite", f"sqlite{TWICE}", "memory", "postgres", f"postgres{TWICE}"])
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
    if "postgres" in request.param:
        if "twice" in request.param:
            monkeypatch.setattr(PostgresWrites, "transact", transacted_twice(PostgresWrites.transact))
        database: Database = request.getfixturevalue("migrated")
        async with shared_conversations(database.url, tmp_path / "q.db", keep=KEEP, async_keep=ASYNC_KEEP) as shared:
            yield shared
        emptied(database)
        return
    if "twice" in request.param:
        monkeypatch.setattr(ledger_transaction, "_write", twice(ledger_transaction._write))
    async with a_ledger(tmp_path / "q.db", conversations_keep=KEEP, async_keep=ASYNC_KEEP) as ledger:
        yield ledger.conversations


@pytest.fixture(scope="session")
def migrated(postgres: PostgresServer) -> Iterator[Database]:
    """A database that all tests of what a store must do have one after another: making the tables takes a second."""
    created = postgres.create()
    yield created
    postgres.drop(created)


def emptied(database: Database) -> None:
    """Nothing is in it any more."""
    database.sql("TRUNCATE thread, message, message_text, item, deletion, lease, hold, generation_text")


def twice(write: Callable[[sqlite3.Connection, Gathered], list[int]]) -> Callable[..., list[int]]:
    """Write, and again."""

    def written(db: sqlite3.Connection, batch: Gathered) -> list[int]:
        write(db, batch)
        return write(db, batch)

    return written


def transacted_twice(transact: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """The same with PostgreSQL."""

    async def transacted(*arguments: Any) -> Any:
        await transact(*arguments)
        return await transact(*arguments)

    return transacted
