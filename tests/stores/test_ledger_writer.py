"""The writer: groups, bounds, and a disk that refuses. SQLite itself is made to fail, by locks and by page limits."""

import asyncio
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from proxy.core.lifecycle import Outcome
from proxy.core.record import Record
from proxy.stores.ledger import questions as ledger_questions
from proxy.stores.ledger.port import LedgerUnavailableError, RecordFilter
from proxy.stores.ledger.sqlite import SqliteLedger
from support.ledgers import a_ledger
from support.records import a_record
from support.wait import eventually


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Another program holds the write lock meanwhile."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


def pieces_on_disk(path: Path) -> int:
    """How many pieces of text there are that no record has taken yet."""
    with closing(sqlite3.connect(path)) as connection:
        count: int = connection.execute("SELECT count(*) FROM generation_text").fetchone()[0]
        return count


def ended(record: Record, text: str | None = None) -> Record:
    """The same record, over."""
    return replace(record, outcome=Outcome.CANCELLED, ended_at=1001.0, text=text)


async def failing(ledger: SqliteLedger) -> None:
    """Wait until a transaction has failed since now."""
    before = ledger.transactions[1]
    await eventually(lambda: ledger.transactions[1] > before, what="a transaction fails")


async def succeeding(ledger: SqliteLedger) -> None:
    """Wait until the ledger is healthy, with nothing left to write."""
    await eventually(lambda: ledger.healthy and not ledger.pending, what="the ledger is healthy")


async def uids(ledger: SqliteLedger, which: RecordFilter | None = None) -> list[str]:
    """What is on disk."""
    page = await ledger.page(which or RecordFilter(), 100, None)
    return sorted(record.uid for record in page.records)


async def test_what_gathers_goes_into_one_transaction(tmp_path: Path) -> None:
    """A thousand writes of one tick are one transaction, and those that come meanwhile are the next one."""
    async with a_ledger(tmp_path / "q.db") as ledger:
        first = [ledger.begin(a_record(f"u{number}")) for number in range(500)]
        for number in range(500):
            ledger.append(f"u{number}", "text")
        assert ledger.pending == 1000
        await asyncio.gather(*first)
        assert ledger.transactions == (1, 0)
        assert ledger.pending == 0


async def test_text_that_waits_is_one_write_a_record(tmp_path: Path) -> None:
    """However long the disk is away, a record's text waits as one piece, in order."""
    path = tmp_path / "q.db"
    async with a_ledger(path) as ledger:
        await ledger.begin(a_record())
        with locked(path):
            ledger.append("u1", "0 ")
            await failing(ledger)
            for number in range(1, 1000):
                ledger.append("u1", f"{number} ")
            assert ledger.pending == 1
        await succeeding(ledger)
        found = await ledger.find("acme", "task-u1")
        assert found is not None
        assert found.text == "".join(f"{number} " for number in range(1000))


@pytest.mark.parametrize("given", ["text", None])
async def test_no_piece_outlives_its_record(tmp_path: Path, given: str | None) -> None:
    """An END takes or drops the pieces in its own transaction, and so does the recovery."""
    path = tmp_path / "q.db"
    async with a_ledger(path) as ledger:
        for uid in ("u1", "u2"):
            await ledger.begin(a_record(uid))
            ledger.append(uid, "text")
        await succeeding(ledger)
        assert pieces_on_disk(path) == 2
        await ledger.end(ended(a_record("u1"), given))
        assert pieces_on_disk(path) == 1
    async with a_ledger(path):
        assert pieces_on_disk(path) == 0


async def test_a_record_is_read_as_of_one_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An END between the look at the record and the look at its pieces does not make the text vanish."""
    look = ledger_questions._with_pieces
    async with a_ledger(tmp_path / "q.db") as ledger:
        await ledger.begin(a_record())
        ledger.append("u1", "text")
        await succeeding(ledger)

        async def after_the_end(connection: AsyncConnection, record: Record) -> Record:
            await ledger.end(ended(a_record(), "text"))
            return await look(connection, record)

        monkeypatch.setattr(ledger_questions, "_with_pieces", after_the_end)
        assert await ledger.find("acme", "task-u1") == a_record(text="text")


async def test_at_the_bound_new_work_is_refused_and_old_work_kept(tmp_path: Path) -> None:
    """With `max_pending` writes waiting a START is refused; an END of what runs is still taken. Covers S1."""
    path = tmp_path / "q.db"
    async with a_ledger(path, max_pending=3) as ledger:
        await ledger.begin(a_record("u0"))
        with locked(path):
            starts = [ledger.begin(a_record(f"u{number}")) for number in (1, 2, 3)]
            with pytest.raises(LedgerUnavailableError, match="3 writes wait"):
                ledger.begin(a_record("u4"))
            with pytest.raises(LedgerUnavailableError):
                await ledger.purge(0.0)
            end = ledger.end(ended(a_record("u0"), "kept"))
        await asyncio.gather(*starts, end)
        assert await uids(ledger) == ["u0", "u1", "u2", "u3"]
        await ledger.begin(a_record("u4"))


async def test_a_lock_that_goes_away_costs_nothing(tmp_path: Path) -> None:
    """Writes wait while another program holds the lock, reads do not, and all is written after it. Covers S1."""
    path = tmp_path / "q.db"
    async with a_ledger(path) as ledger:
        await ledger.begin(a_record("u1"))
        with locked(path):
            writes = [ledger.end(ended(a_record("u1"), "text")), ledger.begin(a_record("u2"))]
            await failing(ledger)
            assert await uids(ledger, RecordFilter(state="live")) == ["u1"]
            assert not any(write.done() for write in writes)
        await asyncio.gather(*writes)
        assert ledger.healthy
        assert await uids(ledger, RecordFilter(state="live")) == ["u2"]


async def test_a_late_start_fails_and_is_never_written(tmp_path: Path) -> None:
    """A START that is not on disk in time fails, marks the ledger unhealthy, and leaves no running record."""
    path = tmp_path / "q.db"
    async with a_ledger(path, start_deadline=0.2) as ledger:
        with locked(path):
            start = ledger.begin(a_record("late"))
            ledger.append("late", "text")
            with pytest.raises(LedgerUnavailableError, match="not on disk within"):
                await start
            assert not ledger.healthy
            await failing(ledger)
            assert ledger.pending == 0
        await succeeding(ledger)
        assert await uids(ledger) == []
        await ledger.begin(a_record("next"))
        assert await uids(ledger) == ["next"]


async def test_a_start_that_was_late_but_committed_is_taken_back(tmp_path: Path) -> None:
    """When the commit comes after the deadline, the row goes again, so that no record runs for ever."""
    path = tmp_path / "q.db"
    async with a_ledger(path, start_deadline=0.2) as ledger:
        # The transaction waits for the lock for up to a second, which is longer than the deadline.
        with locked(path):
            start = ledger.begin(a_record("late"))
            ledger.append("late", "text")
            with pytest.raises(LedgerUnavailableError):
                await start
            assert ledger.transactions == (0, 0)
        await succeeding(ledger)
        assert ledger.transactions[1] == 0
        assert await uids(ledger) == []
    assert pieces_on_disk(path) == 0


async def test_the_end_of_a_late_start_is_written(tmp_path: Path) -> None:
    """What a failed START cost upstream is in the ledger all the same: its END makes a record that is over."""
    path = tmp_path / "q.db"
    async with a_ledger(path, start_deadline=0.2) as ledger:
        with locked(path):
            start = ledger.begin(a_record("late"))
            with pytest.raises(LedgerUnavailableError):
                await start
            end = ledger.end(ended(a_record("late"), "text"))
        await end
        assert await ledger.find("acme", "task-late") == ended(a_record("late"), "text")


async def test_health_comes_back_without_new_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While new work is refused nothing would be written, so the writer goes on trying the disk by itself."""
    monkeypatch.setattr("proxy.stores.ledger.sqlite_connection._BUSY_TIMEOUT", 0.01)
    path = tmp_path / "q.db"
    async with a_ledger(path, start_deadline=0.1) as ledger:
        with locked(path):
            start = ledger.begin(a_record())
            with pytest.raises(LedgerUnavailableError):
                await start
            for _ in range(3):
                await failing(ledger)
            assert ledger.pending == 0
            assert not ledger.healthy
        await succeeding(ledger)


async def test_a_full_disk_loses_nothing_acknowledged(tmp_path: Path) -> None:
    """SQLITE_FULL: STARTs fail in time, ENDs wait, and with room again everything is there. Covers S2."""
    path = tmp_path / "q.db"
    async with a_ledger(path, start_deadline=0.5) as ledger:
        await ledger.begin(a_record("u0"))
        writing = ledger._writer._connection
        assert writing is not None
        await writing.execute("PRAGMA max_page_count = 1")
        end = ledger.end(ended(a_record("u0"), "x" * 100_000))
        start = ledger.begin(a_record("u1"))
        with pytest.raises(LedgerUnavailableError):
            await start
        assert not end.done()
        await writing.execute("PRAGMA max_page_count = 4294967294")
        await end
        await succeeding(ledger)
        assert await ledger.find("acme", "task-u0") == ended(a_record("u0"), "x" * 100_000)
        assert await uids(ledger) == ["u0"]


async def test_a_connection_in_doubt_is_replaced(tmp_path: Path) -> None:
    """If even the rollback fails, the writer opens a new connection and writes the same batch there."""
    async with a_ledger(tmp_path / "q.db") as ledger:
        writing = ledger._writer._connection
        assert writing is not None
        await writing.close()
        await ledger.begin(a_record())
        assert ledger.transactions == (1, 1)
        assert await uids(ledger) == ["u1"]


async def test_closing_ends_even_if_the_disk_never_comes_back(tmp_path: Path) -> None:
    """After its patience `close` gives up: what was not written fails, what was acknowledged is there."""
    path = tmp_path / "q.db"
    async with a_ledger(path, close_patience=0.1) as ledger:
        await ledger.begin(a_record("u1"))
        with locked(path):
            end = ledger.end(ended(a_record("u1")))
            start = ledger.begin(a_record("u2"))
            await ledger.close()
        for write in (end, start):
            with pytest.raises(LedgerUnavailableError, match="closed before"):
                await write
    async with a_ledger(path) as ledger:
        found = await ledger.find("acme", "task-u1")
        assert found is not None
        assert found.outcome is Outcome.INTERRUPTED
        assert await uids(ledger) == ["u1"]


async def test_a_close_that_is_cancelled_lets_go_of_the_file(tmp_path: Path) -> None:
    """Whoever closes may lose patience with a disk: the connection is closed and the lock released all the same."""
    path = tmp_path / "q.db"
    async with a_ledger(path) as ledger:
        with locked(path):
            start = ledger.begin(a_record("u1"))
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await ledger.close()
        with pytest.raises(LedgerUnavailableError, match="closed before"):
            await start
        assert ledger._writer._connection is None
        async with a_ledger(path) as next_one:
            await next_one.begin(a_record("u2"))


async def test_a_wiped_text_leaves_the_file(tmp_path: Path) -> None:
    """After a checkpoint not a word of it is there, though it had filled pages of its own; nor of a recovered one."""
    path = tmp_path / "q.db"
    secret = "SECRET-WORD " * 50_000
    async with a_ledger(path) as ledger:
        await ledger.begin(a_record("u1"))
        ledger.append("u1", secret)
        await ledger.end(ended(a_record("u2"), secret))
        await ledger.wipe_text("u2")
    async with a_ledger(path) as ledger:
        await ledger.wipe_text("u1")
    assert b"SECRET-WORD" not in path.read_bytes()


async def test_a_closed_ledger_takes_nothing(tmp_path: Path) -> None:
    """After `close` a START raises and an END fails; closing again does nothing."""
    async with a_ledger(tmp_path / "q.db") as ledger:
        await ledger.close()
        with pytest.raises(LedgerUnavailableError, match="is closed"):
            ledger.begin(a_record())
        with pytest.raises(LedgerUnavailableError, match="is closed"):
            await ledger.end(ended(a_record()))
        ledger.append("u1", "text")
        assert ledger.pending == 0


async def test_a_waiter_that_was_cancelled_holds_up_nobody(tmp_path: Path) -> None:
    """The record of a client that left while its START was under way is written like any other."""
    async with a_ledger(tmp_path / "q.db") as ledger:
        start = ledger.begin(a_record("u1"))
        start.cancel()
        await ledger.begin(a_record("u2"))
        assert await uids(ledger) == ["u1", "u2"]
        assert ledger.healthy


async def test_nothing_runs_on_the_default_threads(tmp_path: Path) -> None:
    """The ledger writes and reads while the loop's own thread pool is exhausted. Covers P10."""
    loop = asyncio.get_running_loop()
    release = asyncio.Event()
    blocked = [
        loop.run_in_executor(None, lambda: asyncio.run_coroutine_threadsafe(release.wait(), loop).result())
        for _ in range(64)
    ]
    try:
        async with asyncio.timeout(30), a_ledger(tmp_path / "q.db") as ledger:
            await ledger.begin(a_record())
            assert await uids(ledger) == ["u1"]
    finally:
        release.set()
        await asyncio.gather(*blocked)


async def test_a_stalled_event_loop_is_not_taken_for_a_slow_disk(tmp_path: Path) -> None:
    """P9: a START whose deadline passed while the event loop stood still is not failed for that."""
    async with a_ledger(tmp_path / "quell.db", start_deadline=0.5) as ledger:
        durable = ledger.begin(a_record())
        time.sleep(1.0)  # noqa: ASYNC251 the stall itself
        await durable
        assert ledger.healthy
