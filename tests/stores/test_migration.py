"""Files of older versions: each `ledger_*.sql` is the dump of one that was written with that schema and killed over."""

import sqlite3
from contextlib import closing
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from proxy.core.conversation import MessageStatus
from proxy.core.lifecycle import Outcome
from proxy.core.record import Settlement
from support.conversations import ALL, OWNER, a_message, a_thread, an_item, begun, in_thread, listed
from support.ledgers import a_ledger, rows
from support.records import a_record

DUMPS = Path(__file__).parent
CONVERSATIONS = {"thread", "message", "message_text", "deletion"}
ITEMS = {"item"}
ALL_TABLES = CONVERSATIONS | ITEMS | {"settled", "truth", "consumer", "sqlite_sequence"}


def restored(path: Path, schema: str) -> Path:
    """A file of that schema.

    In 0001: one record over, one complete, one running with two pieces of text. In 0002: that running one, a thread
    with a message that is over and one in progress with two pieces, one in progress without a thread, and the note of
    a deletion. In 0003: all of that, a record that is complete, and an open item. In 0004 and 0005: all of that, and
    the one that is over with a cost, settled, and with a later truth.
    """
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript((DUMPS / f"ledger_{schema}.sql").read_text())
    return path


async def test_a_file_of_the_first_schema_is_migrated(tmp_path: Path) -> None:
    """Its records stay, what ran is recovered, and it takes conversations; the next start finds nothing to do."""
    old = restored(tmp_path / "q.db", "0001")
    for _ in range(2):
        async with a_ledger(old, now=7000.0) as ledger:
            over, ran = await ledger.find("acme", "task-over"), await ledger.find("acme", "task-ran")
            assert over is not None
            assert ran is not None
            assert (over.text, over.user, over.tags) == ("kept", "ann", {"team": "ä"})
            assert (ran.outcome, ran.text, ran.ended_at) == (Outcome.INTERRUPTED, "half an answer", 7000.0)
            await ledger.conversations.add_thread(a_thread())
            await ledger.conversations.add_messages(a_message())
            await ledger.conversations.add_items(an_item(thread_id="t1"))
            assert await in_thread(ledger.conversations) == ["m1"]
            assert await listed(ledger.conversations) == ["r1"]


async def test_a_file_of_the_second_schema_is_migrated(tmp_path: Path) -> None:
    """Its threads and messages stay, what was in progress is recovered, and it takes and deletes items."""
    old = restored(tmp_path / "q.db", "0002")
    for _ in range(2):
        async with a_ledger(old, now=7000.0) as ledger:
            store = ledger.conversations
            record = await ledger.find("acme", "task-ran")
            assert record is not None
            assert (record.outcome, record.text) == (Outcome.INTERRUPTED, "half an answer")
            thread = a_thread(user="ann", name="Näme", metadata={"team": "ä"})
            over = a_message("over", text="kept", content=[{"type": "text"}], generation="g1", ended_at=1001.0)
            ran = begun("ran", text="So: half an answer", generation="ran")
            ran = replace(ran, status=MessageStatus.INTERRUPTED, ended_at=7000.0)
            assert await store.find_thread(OWNER, "t1") == thread
            assert await store.messages(OWNER, "t1", ALL) == ([over, ran], False)
            assert await store.find_message(OWNER, "alone") == replace(
                ran, id="alone", thread_id=None, text="", generation=None
            )
            await store.add_items(an_item(thread_id="t1"))
            assert await listed(store) == ["r1"]
            assert rows(old) == {"thread": 1, "message": 3, "item": 1}
    async with a_ledger(old) as ledger:
        assert await ledger.conversations.delete_thread(OWNER, "t1") == ["g1", "ran"]
    assert rows(old) == {"message": 1}


async def test_a_file_of_the_third_schema_is_migrated(tmp_path: Path) -> None:
    """Its records stay, and each that has ended, now or by the recovery, is settled once, in order of its end."""
    old = restored(tmp_path / "q.db", "0003")
    for _ in range(2):
        async with a_ledger(old, now=7000.0) as ledger:
            over = await ledger.find("acme", "task-over")
            assert over is not None
            assert (over.text, over.tags, over.prompt_tokens, over.completion_tokens) == ("kept", {"team": "ä"}, 7, 9)
            assert (over.settlement, over.cost, over.price, over.max_tokens) == (Settlement.PRODUCED, None, None, None)
            assert await listed(ledger.conversations) == ["r1"]
            for left in await ledger.unsettled(10):
                await ledger.settle(left)
    with closing(sqlite3.connect(old)) as connection:
        settled = connection.execute("SELECT number, uid, revision FROM settled ORDER BY number").fetchall()
        assert settled == [(1, "over", 1), (2, "ran", 1)]


async def test_a_file_of_the_fourth_schema_is_migrated(tmp_path: Path) -> None:
    """Its money, its settled rows and later truths stay, and what ran is found to be counted."""
    old = restored(tmp_path / "q.db", "0004")
    async with a_ledger(old, now=7000.0) as ledger:
        over = await ledger.find("acme", "task-over")
        assert over is not None
        assert (over.cost, over.currency, over.price) == (Decimal("0.000000000002"), "USD", "{}")
        assert [left.uid for left in await ledger.unsettled(10)] == ["ran"]
    with closing(sqlite3.connect(old)) as connection:
        settled = connection.execute("SELECT number, uid, revision FROM settled ORDER BY number").fetchall()
        assert settled == [(1, "over", 1), (2, "over", 2)]
        assert connection.execute("SELECT uid, revision, completion_tokens FROM truth").fetchall() == [("over", 2, 11)]


async def test_a_file_of_the_fifth_schema_is_migrated(tmp_path: Path) -> None:
    """Nothing in it changes; it can be the spool of a shared ledger, from its first settled record on."""
    old = restored(tmp_path / "q.db", "0005")
    async with a_ledger(old, now=7000.0) as ledger:
        begun = await ledger.spool.begin("one")
        assert (begun.forwarded, begun.heard, begun.end) == (0, 0, 2)
        assert (await ledger.spool.begin("two")).id == begun.id
        assert [version.uid for version in (await ledger.spool.next(0, 10, 10**6)).versions] == ["over", "over"]


async def test_what_is_deleted_is_no_longer_settled(tmp_path: Path) -> None:
    """A record that its retention deletes takes its rows in the other tables along; their numbers don't come back."""
    async with a_ledger(tmp_path / "q.db", keep=10.0) as ledger:
        for uid, ended in (("u1", 1001.0), ("u2", 2001.0)):
            await ledger.begin(a_record(uid))
            await ledger.end(a_record(uid, outcome=Outcome.COMPLETED, ended_at=ended))
        await ledger.purge(3000.0)
        await ledger.begin(a_record("u3"))
        await ledger.end(a_record("u3", outcome=Outcome.COMPLETED, ended_at=3001.0))
    with closing(sqlite3.connect(tmp_path / "q.db")) as connection:
        assert connection.execute("SELECT number, uid FROM settled").fetchall() == [(3, "u3")]


@pytest.mark.parametrize(
    ("schema", "more"),
    [
        ("0001", set()),
        ("0002", CONVERSATIONS),
        ("0003", CONVERSATIONS | ITEMS),
        ("0004", ALL_TABLES),
        ("0005", ALL_TABLES),
    ],
)
async def test_a_migration_is_done_as_a_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, schema: str, more: set[str]
) -> None:
    """A start that fails behind it leaves the file in its old schema, with its record still running."""
    old = restored(tmp_path / "q.db", schema)

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError

    with monkeypatch.context() as patched:
        patched.setattr("proxy.stores.ledger.open.interrupt_messages", broken)
        with pytest.raises(RuntimeError):
            async with a_ledger(old):
                pass
    with closing(sqlite3.connect(old)) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [(schema,)]
        names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        assert names == {"alembic_version", "generation", "generation_text"} | more
        assert connection.execute("SELECT count(*) FROM generation_text").fetchone() == (2,)
    async with a_ledger(old) as ledger:
        assert await ledger.conversations.add_items(an_item("new"))
