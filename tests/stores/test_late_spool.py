"""What waits for the shared conversations in a replica's own file: within its bounds, and none of it lost."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from proxy.stores.conversations import acts, late_spool
from proxy.stores.conversations.sql import Act
from proxy.stores.ledger.port import LedgerUnavailableError
from support.conversations import OWNER
from support.ledgers import a_ledger
from support.postgres import Database
from support.shared import shared_conversations
from support.wait import eventually

UNKNOWN = '[["conversations_statements.OF_ANOTHER_TIME.0", {"id": "t1"}]]'


def an_act(name: str = "name") -> Act:
    """An act that changes one message."""
    return acts.updating_message(OWNER, "m1", {"name": name})


def written_elsewhere(file: Path, *tokens: str) -> None:
    """Put in what another version wrote."""
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.executemany("INSERT INTO late (token, acts) VALUES (?, ?)", [(each, UNKNOWN) for each in tokens])


def waiting(file: Path) -> list[str]:
    """The tokens of the rows in the file that another version wrote."""
    with closing(sqlite3.connect(file)) as connection:
        rows = connection.execute("SELECT token FROM late WHERE acts = ? ORDER BY number", (UNKNOWN,)).fetchall()
    return [row[0] for row in rows]


async def test_what_another_version_wrote_stays(tmp_path: Path) -> None:
    """It is passed over, whatever lies before and behind it, does not count as waiting, and is said once in the log."""
    file = tmp_path / "q.db"
    async with a_ledger(file) as ledger:
        written_elsewhere(file, *"abc")
        await ledger.late.put([an_act("first")])
        written_elsewhere(file, "d")
        await ledger.late.put([an_act("second")])
    with capture_logs() as logs:
        async with a_ledger(file) as ledger:
            late = ledger.late
            await late.open()
            assert len(late) == 6
            seen = []
            while batch := await late.first(2):
                for number, said in batch:
                    seen.append(said)
                    await late.drop(number)
            assert seen == [[an_act("first")], [an_act("second")]]
            assert len(late) == 0
            assert await late.first(2) == []
            await late.put([an_act("third")])
            ((number, said),) = await late.first(2)
            assert said == [an_act("third")]
            await late.drop(number)
    assert waiting(file) == [*"abcd"]
    errors = [log for log in logs if log["event"] == "conversations.write_of_another_version"]
    assert [(log["log_level"], log["write"]) for log in errors] == [
        ("error", "conversations_statements.OF_ANOTHER_TIME.0")
    ]


async def test_what_is_set_aside_holds_nothing_up(tmp_path: Path, database: Database) -> None:
    """The conversations are written to PostgreSQL past it, and it is still there when they are closed."""
    file = tmp_path / "q.db"
    async with a_ledger(file):
        written_elsewhere(file, "a")
    async with shared_conversations(database.url, file) as store:
        await store._writes.later([an_act()])
        await eventually(lambda: not store.late, what="all is written")
    assert waiting(file) == ["a"]


@pytest.mark.parametrize("again", [False, True])
async def test_bytes_are_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, again: bool) -> None:
    """With so many bytes waiting, also from an earlier process, nothing is taken until some of it is written."""
    monkeypatch.setattr(late_spool, "MOST_BYTES", 10_000)
    file = tmp_path / "q.db"
    async with a_ledger(file) as ledger:
        await ledger.late.put([an_act("x" * 10_000)])
        if not again:
            with pytest.raises(LedgerUnavailableError, match="MiB"):
                await ledger.late.put([an_act()])
    async with a_ledger(file) as ledger:
        await ledger.late.open()
        with pytest.raises(LedgerUnavailableError, match="MiB"):
            await ledger.late.put([an_act()])
        ((number, _),) = await ledger.late.first(10)
        await ledger.late.drop(number)
        for _ in range(3):
            await ledger.late.put([an_act()])
