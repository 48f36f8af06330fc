"""Files of older versions: `ledger_0001.sql` is the dump of one that version 0.1.0 wrote and was killed over."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from proxy.core.lifecycle import Outcome
from support.conversations import a_message, a_thread, in_thread
from support.ledgers import a_ledger

DUMP = Path(__file__).with_name("ledger_0001.sql")


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A ledger of schema 0001: one record over, one complete, one running with two pieces of text."""
    path = tmp_path / "q.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(DUMP.read_text())
    return path


async def test_a_file_of_the_first_schema_is_migrated(old: Path) -> None:
    """Its records stay, what ran is recovered, and it takes conversations; the next start finds nothing to do."""
    for _ in range(2):
        async with a_ledger(old, now=7000.0) as ledger:
            over, ran = await ledger.find("acme", "task-over"), await ledger.find("acme", "task-ran")
            assert over is not None
            assert ran is not None
            assert (over.text, over.user, over.tags) == ("kept", "ann", {"team": "ä"})
            assert (ran.outcome, ran.text, ran.ended_at) == (Outcome.INTERRUPTED, "half an answer", 7000.0)
            await ledger.conversations.add_thread(a_thread())
            await ledger.conversations.add_messages(a_message())
            assert await in_thread(ledger.conversations) == ["m1"]


async def test_a_migration_is_done_as_a_whole(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A start that fails behind it leaves the file in its old schema, with its record still running."""

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError

    with monkeypatch.context() as patched:
        patched.setattr("proxy.stores.ledger_open.interrupt_messages", broken)
        with pytest.raises(RuntimeError):
            async with a_ledger(old):
                pass
    with closing(sqlite3.connect(old)) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [("0001",)]
        names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        assert names == {"alembic_version", "generation", "generation_text"}
        assert connection.execute("SELECT count(*) FROM generation_text").fetchone() == (2,)
    async with a_ledger(old) as ledger:
        assert await ledger.conversations.add_thread(a_thread())
