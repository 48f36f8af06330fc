"""Items on SQLite: a disk that refuses or is late, what a start finds, and what is left of deleted ones."""

import asyncio
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from proxy.core.conversation import MessageStatus
from proxy.stores.ledger.port import LedgerUnavailableError
from support.conversations import ALL, OWNER, a_thread, an_item, begun, listed
from support.ledgers import a_ledger, all_written, locked, rows
from support.records import a_record


async def test_what_was_open_is_interrupted_at_the_next_start(tmp_path: Path) -> None:
    """It is closed, and says so until somebody changes it; its other facts stay, and so do those that were not open."""
    path = tmp_path / "q.db"
    items = [an_item(is_open=True, expires_at=9.0), an_item("r2"), an_item("r3", is_open=True)]
    async with a_ledger(path) as ledger:
        await ledger.conversations.add_thread(a_thread())
        await ledger.conversations.add_items(*items, an_item("s1", "step", thread_id="t1", is_open=True))
        await ledger.conversations.update_item(OWNER, "run", "r3", {"over": 1}, is_open=False)
    expected = [
        replace(items[0], is_open=False, is_interrupted=True),
        items[1],
        replace(items[2], is_open=False, body={"over": 1}),
    ]
    for _ in range(2):
        async with a_ledger(path) as ledger:
            assert await ledger.conversations.items(OWNER, "run", None, ALL) == (expected, False)
            step = await ledger.conversations.find_item(OWNER, "step", "s1")
            assert step is not None
            assert (step.is_open, step.is_interrupted) == (False, True)
    async with a_ledger(path) as ledger:
        assert await ledger.conversations.update_item(OWNER, "step", "s1", {}, is_open=False)
        await ledger.conversations.purge(10.0)
        assert await listed(ledger.conversations) == ["r2", "r3"]
        step = await ledger.conversations.find_item(OWNER, "step", "s1")
        assert step is not None
        assert not step.is_interrupted


async def test_a_start_that_fails_interrupts_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Records, messages and items are recovered in one transaction: an error behind them undoes all of it."""
    path = tmp_path / "q.db"
    async with a_ledger(path) as ledger:
        await ledger.begin(a_record())
        await ledger.conversations.add_messages(begun(thread_id=None))
        await ledger.conversations.add_items(an_item(is_open=True))

    def broken(*_: object) -> None:
        raise RuntimeError

    with monkeypatch.context() as patched:
        patched.setattr("proxy.stores.ledger.open.forget_deletions", broken)
        with pytest.raises(RuntimeError):
            async with a_ledger(path, now=7000.0):
                pass
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT outcome FROM generation").fetchall() == [("running",)]
        assert connection.execute("SELECT status FROM message").fetchall() == [("in_progress",)]
        assert connection.execute("SELECT is_open, is_interrupted FROM item").fetchall() == [(1, 0)]
    async with a_ledger(path, now=8000.0) as ledger:
        message = await ledger.conversations.find_message(OWNER, "m1")
        assert message is not None
        assert message.status is MessageStatus.INTERRUPTED
        assert await ledger.conversations.find_item(OWNER, "run", "r1") == an_item(is_interrupted=True)


@pytest.mark.parametrize("busy", [5.0, 0.01])
async def test_what_is_late_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, busy: float) -> None:
    """What was not on disk in time fails, and does not come later: neither from the queue nor out of a slow commit."""
    monkeypatch.setattr("proxy.stores.ledger.sqlite_connection._BUSY_TIMEOUT", busy)
    path = tmp_path / "q.db"
    async with a_ledger(path, start_deadline=0.1) as ledger:
        store = ledger.conversations
        await store.add_items(an_item("old"))
        with locked(path):
            adding = (store.add_items(an_item("a"), an_item("b", is_open=True)), store.add_items(an_item("old")))
            for outcome in await asyncio.gather(*adding, return_exceptions=True):
                assert isinstance(outcome, LedgerUnavailableError), outcome
                assert "not on disk within" in str(outcome)
        await all_written(ledger)
        assert await listed(store) == ["old"]
        assert store._open == set()
        assert await store.add_items(an_item("b"))


async def test_a_change_that_is_late_says_so(tmp_path: Path) -> None:
    """Changes and deletions fail when the disk does not answer in time; they still come, all of them."""
    path = tmp_path / "q.db"
    async with a_ledger(path, start_deadline=0.1) as ledger:
        store = ledger.conversations
        await store.add_items(an_item(), an_item("r2"), an_item("s1", "step", parent="r2"))
        with locked(path):
            changes = (
                store.update_item(OWNER, "run", "r1", {"late": 1}, is_open=False),
                store.delete_items(OWNER, "run", "r2"),
            )
            for outcome in await asyncio.gather(*changes, return_exceptions=True):
                assert isinstance(outcome, LedgerUnavailableError), outcome
        await all_written(ledger)
        assert await store.find_item(OWNER, "run", "r1") == an_item(body={"late": 1})
        assert rows(path)["item"] == 1


async def test_at_the_bound_what_is_open_may_end(tmp_path: Path) -> None:
    """With `max_pending` writes waiting nothing is put in, opened or changed; what is open is closed all the same."""
    path = tmp_path / "q.db"
    async with a_ledger(path, max_pending=2) as ledger:
        store = ledger.conversations
        await store.add_items(an_item(is_open=True), an_item("r2"), an_item("r3"))
        await store.update_item(OWNER, "run", "r3", {}, is_open=True)
        with locked(path):
            for uid in ("u1", "u2"):
                ledger.begin(a_record(uid))
            for refused in (
                store.add_items(an_item("r4")),
                store.update_item(OWNER, "run", "r1", {"x": 1}, is_open=True),
                store.update_item(OWNER, "run", "r2", {"x": 1}, is_open=False),
                store.delete_items(OWNER, "run", "r1"),
            ):
                with pytest.raises(LedgerUnavailableError, match="2 writes wait"):
                    await refused
            ending = [
                asyncio.create_task(store.update_item(OWNER, "run", each, {"over": 1}, is_open=False))  # noqa: TID251 it must wait
                for each in ("r1", "r3")
            ]
            await asyncio.sleep(0)
            with pytest.raises(LedgerUnavailableError):  # it was closed by now, so this is a change like any other
                await store.update_item(OWNER, "run", "r1", {"x": 1}, is_open=False)
        assert await asyncio.gather(*ending) == [True, True]
        assert await store.find_item(OWNER, "run", "r1") == an_item(body={"over": 1})
        assert await listed(store) == ["r1", "r2", "r3"]


async def test_what_is_over_is_forgotten(tmp_path: Path) -> None:
    """Neither ends nor deletions, failed additions nor changes of what is not there leave anything behind in memory."""
    async with a_ledger(tmp_path / "q.db") as ledger:
        store = ledger.conversations
        await store.add_items(an_item("a", is_open=True), an_item("b", is_open=True), an_item("c"))
        assert len(store._open) == 2
        assert not await store.add_items(an_item("d", is_open=True), an_item("c"))
        assert not await store.update_item(OWNER, "run", "x", {}, is_open=True)
        await store.update_item(OWNER, "run", "a", {}, is_open=False)
        assert [key[3] for key in store._open] == ["b"]
        await store.delete_items(OWNER, "run", "b")
        assert store._open == set()


async def test_a_closed_store_takes_nothing(tmp_path: Path) -> None:
    """Every write fails, an end too."""
    path = tmp_path / "q.db"
    async with a_ledger(path) as ledger:
        store = ledger.conversations
        await store.add_items(an_item(is_open=True))
        await ledger.close()
        for write in (
            store.add_items(an_item("r2")),
            store.update_item(OWNER, "run", "r1", {}, is_open=False),
            store.delete_items(OWNER, "run", "r1"),
        ):
            with pytest.raises(LedgerUnavailableError, match="is closed"):
                await write
    async with a_ledger(path) as ledger:
        assert await ledger.conversations.find_item(OWNER, "run", "r1") == an_item(is_interrupted=True)


async def test_what_can_t_be_read_is_said(tmp_path: Path) -> None:
    """A store whose file is damaged under it raises the port's own error."""
    path = tmp_path / "q.db"
    async with a_ledger(path) as ledger:
        with closing(sqlite3.connect(path)) as other:
            other.execute("DROP TABLE item")
        for read in (
            ledger.conversations.find_item(OWNER, "run", "r1"),
            ledger.conversations.items(OWNER, "run", None, ALL),
        ):
            with pytest.raises(LedgerUnavailableError, match="can't be read"):
                await read


@pytest.mark.parametrize("how", ["delete_thread", "delete_items", "purge", "update_item"])
async def test_deleting_really_deletes(tmp_path: Path, how: str) -> None:
    """After a checkpoint the file holds not a word of it, nor of a body that was replaced; and no notes are left."""
    path = tmp_path / "q.db"
    secret = "SECRET-WORD "
    async with a_ledger(path) as ledger:
        store = ledger.conversations
        await store.add_thread(a_thread())
        of = "t1" if how == "delete_thread" else None
        for number in range(20):
            body = {"x": secret * (5000 if number % 2 else 3)}
            await store.add_items(
                an_item(f"r{number}", thread_id=of, body=body, expires_at=1.0),
                an_item(f"s{number}", "step", parent=f"r{number}", body=body),
            )
            if how == "update_item":
                await store.update_item(OWNER, "run", f"r{number}", {}, is_open=False)
                await store.update_item(OWNER, "step", f"s{number}", {}, is_open=False)
        if how == "delete_items":
            assert await store.delete_items(OWNER, "run", *(f"r{number}" for number in range(20))) == 20
        if how == "purge":
            await store.purge(2.0)
        await store.delete_thread(OWNER, "t1")
        await all_written(ledger)
    assert not path.with_name("q.db-wal").exists()
    assert rows(path) == ({"item": 40} if how == "update_item" else {})
    assert secret.encode() not in path.read_bytes()
