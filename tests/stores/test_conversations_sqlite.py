"""Conversations on SQLite: a disk that refuses or is late, what a start finds, and what is left of deleted ones."""

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from proxy.core.conversation import MessageStatus
from proxy.stores.conversations.port import Owner
from proxy.stores.ledger.port import LedgerUnavailableError
from support.conversations import ALL, OWNER, a_message, a_thread, an_item, begun, in_thread, text_of
from support.ledgers import a_ledger, all_written, failing, locked, rows
from support.records import a_record
from support.wait import eventually


def pieces(path: Path) -> list[tuple[int, str]]:
    """The pieces of texts in progress, with their offsets."""
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute('SELECT "offset", piece FROM message_text ORDER BY 1').fetchall()


async def test_what_was_in_progress_is_interrupted_at_the_next_start(tmp_path: Path) -> None:
    """It ends then, with its pieces behind what it began with; its thread's time stays, and no piece is left."""
    path = tmp_path / "q.db"
    async with a_ledger(path) as ledger:
        store = ledger.conversations
        await store.add_thread(a_thread())
        await store.add_messages(begun("m1", text="So: "), begun("m2", None), a_message("m3", text="whole"))
        for piece in ("half an\0 ans", "wer ", "\U0001f600"):
            store.append(OWNER, "m1", piece)
        await all_written(ledger)
    assert len(pieces(path)) > 1
    expected = begun("m1", status=MessageStatus.INTERRUPTED, ended_at=7000.0, text="So: half an\0 answer \U0001f600")
    for now in (7000.0, 8000.0):
        async with a_ledger(path, now=now) as ledger:
            store = ledger.conversations
            assert await store.find_message(OWNER, "m1") == expected
            assert await store.find_message(OWNER, "m2") == replace(expected, id="m2", thread_id=None, text="")
            assert await store.find_message(OWNER, "m3") == a_message("m3", text="whole")
            assert await store.find_thread(OWNER, "t1") == a_thread()
            assert not await store.end_message(OWNER, "m1", MessageStatus.COMPLETED, ended_at=9.0, text="x")
            store.append(OWNER, "m1", "late")
    assert rows(path) == {"thread": 1, "message": 3}


async def test_a_start_that_fails_interrupts_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Records and messages are recovered in one transaction: an error in the second undoes the first."""
    path = tmp_path / "q.db"
    async with a_ledger(path) as ledger:
        await ledger.begin(a_record())
        await ledger.conversations.add_messages(begun(thread_id=None))
        ledger.conversations.append(OWNER, "m1", "text")

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError

    with monkeypatch.context() as patched:
        patched.setattr("proxy.stores.ledger.open.interrupt_messages", broken)
        with pytest.raises(RuntimeError):
            async with a_ledger(path, now=7000.0):
                pass
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT outcome FROM generation").fetchall() == [("running",)]
    async with a_ledger(path, now=8000.0) as ledger:
        found = await ledger.conversations.find_message(OWNER, "m1")
        assert found is not None
        assert (found.ended_at, found.text) == (8000.0, "text")


async def test_text_that_waits_is_one_piece(tmp_path: Path) -> None:
    """However long the disk is away, one piece is under way and one gathers; both are written, in order."""
    path = tmp_path / "q.db"
    async with a_ledger(path) as ledger:
        store = ledger.conversations
        await store.add_messages(begun(thread_id=None))
        with locked(path):
            for number in range(1000):
                store.append(OWNER, "m1", f"{number}é")
            await failing(ledger)
            assert ledger.pending == 1
        await eventually(lambda: len(pieces(path)) == 2)
        assert pieces(path) == [(0, "0é"), (2, "".join(f"{number}é" for number in range(1, 1000)))]


async def test_what_the_writer_refuses_goes_with_the_next_piece(tmp_path: Path) -> None:
    """At the bound a piece is kept, and nothing raises; what is on disk is a prefix all the while."""
    path = tmp_path / "q.db"
    async with a_ledger(path, max_pending=1) as ledger:
        store = ledger.conversations
        await store.add_messages(begun(thread_id=None))
        with locked(path):
            ledger.end(a_record())
            for piece in ("one ", "two ", "three "):
                store.append(OWNER, "m1", piece)
            assert ledger.pending == 1
        await all_written(ledger)
        assert pieces(path) == []
        store.append(OWNER, "m1", "four")
        await eventually(lambda: pieces(path) == [(0, "one two three four")])


async def test_texts_of_what_is_over_are_forgotten(tmp_path: Path) -> None:
    """Neither ends nor deletions, failed additions nor cancelled callers leave anything behind in memory."""
    path = tmp_path / "q.db"
    async with a_ledger(path, start_deadline=0.1) as ledger:
        store = ledger.conversations
        await store.add_thread(a_thread())
        await store.add_messages(
            *(begun(f"m{number}") for number in range(4)), begun("alone", None), a_message("whole")
        )
        assert len(store._texts) == 5
        for number in range(4):
            store.append(OWNER, f"m{number}", "text")
        await store.end_message(OWNER, "m0", MessageStatus.FAILED, ended_at=2.0, text="")
        await store.delete_messages(Owner("acme", "dify", "bob"), "m1")
        assert len(store._texts) == 4
        await store.delete_messages(OWNER, "m1")
        assert not await store.add_messages(begun("new"), begun("m2"))
        assert len(store._texts) == 3
        await store.delete_thread(OWNER, "t1")
        assert list(store._texts._texts) == [("acme", "dify", "alone")]
        cancelled = asyncio.create_task(store.add_messages(begun("c"), begun("alone")))  # noqa: TID251 to cancel it
        await asyncio.sleep(0)
        cancelled.cancel()
        await asyncio.wait({cancelled})
        await all_written(ledger)
        with locked(path), pytest.raises(LedgerUnavailableError):
            await store.add_messages(begun("late", None))
        assert list(store._texts._texts) == [("acme", "dify", "alone")]


@pytest.mark.parametrize("busy", [5.0, 0.01])
async def test_what_is_late_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, busy: float) -> None:
    """What was not on disk in time fails, and does not come later: neither from the queue nor out of a slow commit."""
    monkeypatch.setattr("proxy.stores.ledger.sqlite_connection._BUSY_TIMEOUT", busy)
    path = tmp_path / "q.db"
    async with a_ledger(path, start_deadline=0.1) as ledger:
        store = ledger.conversations
        await store.add_thread(a_thread("old"))
        with locked(path):
            adding = (
                store.add_thread(a_thread()),
                store.add_thread(a_thread("old")),
                store.add_messages(begun("m1", "old"), a_message("m2", "old")),
                store.add_messages(a_message("m3", None)),
            )
            for outcome in await asyncio.gather(*adding, return_exceptions=True):
                assert isinstance(outcome, LedgerUnavailableError), outcome
                assert "not on disk within" in str(outcome)
            store.append(OWNER, "m1", "text")
        await all_written(ledger)
        assert rows(path) == {"thread": 1}
        assert await store.add_messages(begun("m1", "old"))
        assert await in_thread(store, "old") == ["m1"]


@pytest.mark.parametrize(
    ("name", "made", "words"), [("add_messages", partial(a_message, thread_id=None), 2), ("add_items", an_item, 1)]
)
async def test_what_is_late_is_let_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, made: Callable[[str], Any], words: int
) -> None:
    """While the disk is away, only the few words that take it back wait on, not what was to be added."""
    monkeypatch.setattr("proxy.stores.ledger.sqlite_connection._BUSY_TIMEOUT", 0.01)
    path = tmp_path / "q.db"
    async with a_ledger(path, start_deadline=0.1) as ledger:
        with locked(path):
            with pytest.raises(LedgerUnavailableError):
                await getattr(ledger.conversations, name)(*(made(f"x{number}") for number in range(50)))
            await failing(ledger)
            await failing(ledger)
            assert ledger.pending == words
        await all_written(ledger)
        assert rows(path) == {}


async def test_a_change_that_is_late_says_so(tmp_path: Path) -> None:
    """Changes and deletions fail too when the disk does not answer in time."""
    path = tmp_path / "q.db"
    async with a_ledger(path, start_deadline=0.1) as ledger:
        store = ledger.conversations
        await store.add_thread(a_thread())
        with locked(path):
            changes = (
                store.update_thread(OWNER, "t1", updated_at=2.0),
                store.update_message(OWNER, "m1", metadata={}),
                store.delete_messages(OWNER, "m1"),
                store.delete_thread(OWNER, "t1"),
            )
            for outcome in await asyncio.gather(*changes, return_exceptions=True):
                assert isinstance(outcome, LedgerUnavailableError), outcome


async def test_a_full_disk_loses_nothing_acknowledged(tmp_path: Path) -> None:
    """SQLITE_FULL: new ones are refused, ends wait, texts gather; with room again all of it is there."""
    path = tmp_path / "q.db"
    async with a_ledger(path, start_deadline=0.3) as ledger:
        store = ledger.conversations
        await store.add_thread(a_thread())
        await store.add_messages(begun("m1"), begun("m2"))
        writing = ledger._writer._connection
        assert writing is not None
        await writing.execute("PRAGMA max_page_count = 1")
        for _ in range(100):
            store.append(OWNER, "m1", "y" * 1000)
        ending = asyncio.create_task(  # noqa: TID251 it must wait
            store.end_message(OWNER, "m2", MessageStatus.COMPLETED, ended_at=2.0, text="x" * 100_000)
        )
        with pytest.raises(LedgerUnavailableError):
            await store.add_messages(a_message("m3", text="z" * 100_000))
        assert not ending.done()
        assert await text_of(store, "m1") == ""
        await writing.execute("PRAGMA max_page_count = 4294967294")
        assert await ending
        await all_written(ledger)
        assert await text_of(store, "m1") == "y" * 100_000
        assert await text_of(store, "m2") == "x" * 100_000
        assert await in_thread(store) == ["m1", "m2"]


async def test_at_the_bound_new_ones_are_refused_and_ends_taken(tmp_path: Path) -> None:
    """With `max_pending` writes waiting nothing is half put in; what runs may end all the same."""
    path = tmp_path / "q.db"
    async with a_ledger(path, max_pending=2) as ledger:
        store = ledger.conversations
        await store.add_messages(begun(thread_id=None))
        with locked(path):
            for uid in ("u1", "u2"):
                ledger.begin(a_record(uid))
            with pytest.raises(LedgerUnavailableError, match="2 writes wait"):
                await store.add_thread(a_thread())
            with pytest.raises(LedgerUnavailableError, match="2 writes wait"):
                await store.add_messages(begun("m2", None), begun("m3", None))
            ending = asyncio.create_task(  # noqa: TID251 it must wait
                store.end_message(OWNER, "m1", MessageStatus.COMPLETED, ended_at=2.0, text="x")
            )
            await asyncio.sleep(0)
        assert await ending
        assert rows(path) == {"message": 1}
        assert len(store._texts) == 0


async def test_a_closed_store_takes_nothing(tmp_path: Path) -> None:
    """Every write fails, an append is ignored; what still waited at the end fails too."""
    path = tmp_path / "q.db"
    async with a_ledger(path, close_patience=0.1) as ledger:
        store = ledger.conversations
        await store.add_messages(begun(thread_id=None))
        with locked(path):
            adding = asyncio.create_task(store.add_messages(begun("m2", None)))  # noqa: TID251 it must wait
            await asyncio.sleep(0)
            await ledger.close()
        with pytest.raises(LedgerUnavailableError, match="closed before"):
            await adding
        store.append(OWNER, "m1", "text")
        for write in (
            store.add_thread(a_thread()),
            store.add_messages(a_message("m3", None)),
            store.end_message(OWNER, "m1", MessageStatus.COMPLETED, ended_at=2.0, text="x"),
            store.delete_messages(OWNER, "m1"),
            store.delete_thread(OWNER, "t1"),
            store.purge(9000.0),
        ):
            with pytest.raises(LedgerUnavailableError, match="is closed"):
                await write
    async with a_ledger(path, now=7000.0) as ledger:
        found = await ledger.conversations.find_message(OWNER, "m1")
        assert found is not None
        assert found.status is MessageStatus.INTERRUPTED


async def test_what_can_t_be_read_is_said(tmp_path: Path) -> None:
    """A store whose file is damaged under it raises the port's own error."""
    path = tmp_path / "q.db"
    async with a_ledger(path) as ledger:
        await ledger.conversations.add_thread(a_thread())
        with closing(sqlite3.connect(path)) as other:
            other.execute("DROP TABLE message")
        for read in (
            ledger.conversations.find_message(OWNER, "m1"),
            ledger.conversations.messages(OWNER, "t1", ALL),
        ):
            with pytest.raises(LedgerUnavailableError, match="can't be read"):
                await read


@pytest.mark.parametrize("how", ["delete_thread", "delete_messages", "purge", "end"])
async def test_deleting_really_deletes(tmp_path: Path, how: str) -> None:
    """After a checkpoint the file holds not a word of it: nor of texts that took pages of their own, nor of pieces."""
    path = tmp_path / "q.db"
    secret = "SECRET-WORD "
    async with a_ledger(path, async_keep=1.0) as ledger:
        store = ledger.conversations
        await store.add_thread(a_thread(name=secret, metadata={"x": secret}))
        of = None if how == "purge" else "t1"
        for number in range(20):
            long = secret * (5000 if number % 2 else 3)
            ended = a_message(f"m{number}", of, text=long, content=[long], metadata={"x": long}, ended_at=1.0)
            await store.add_messages(ended, begun(f"r{number}", of))
            store.append(OWNER, f"r{number}", long)
            await all_written(ledger)
            if how in {"purge", "end"}:
                await store.end_message(OWNER, f"r{number}", MessageStatus.CANCELLED, ended_at=2.0, text="gone")
                assert pieces(path) == []
        if how == "delete_thread":
            await store.delete_thread(OWNER, "t1")
        else:
            await store.purge(1e9)
            await store.delete_messages(OWNER, *(f"{kind}{n}" for n in range(20) for kind in ("m", "r")))
            await store.delete_thread(OWNER, "t1")
        await all_written(ledger)
    assert not path.with_name("q.db-wal").exists()
    assert rows(path) == {}
    assert secret.encode() not in path.read_bytes()


async def test_a_deletion_leaves_no_notes(tmp_path: Path) -> None:
    """What it took is noted until it has been read; notes that a dead process left go at the next start."""
    path = tmp_path / "q.db"
    async with a_ledger(path) as ledger:
        await ledger.conversations.add_thread(a_thread())
        await ledger.conversations.add_messages(a_message(generation="g"))
        assert await ledger.conversations.delete_thread(OWNER, "t1") == ["g"]
    assert rows(path) == {}
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("INSERT INTO deletion VALUES (1, 'token', 'uid', 'message', 'g')")
        connection.commit()
    async with a_ledger(path):
        assert rows(path) == {}


async def test_a_page_is_read_as_of_one_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An end between the look at a message and the look at its pieces does not make the text vanish."""
    from proxy.stores.conversations import reads as conversations_reads  # noqa: PLC0415 it is broken into

    look = conversations_reads._with_pieces
    async with a_ledger(tmp_path / "q.db") as ledger:
        store = ledger.conversations
        await store.add_messages(begun(thread_id=None))
        store.append(OWNER, "m1", "text")
        await all_written(ledger)

        async def after_the_end(*args: object) -> object:
            await store.end_message(OWNER, "m1", MessageStatus.COMPLETED, ended_at=2.0, text="text")
            return await look(*args)  # type: ignore[arg-type]

        monkeypatch.setattr(conversations_reads, "_with_pieces", after_the_end)
        assert await text_of(store) == "text"
