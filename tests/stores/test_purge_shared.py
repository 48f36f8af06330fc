"""Purges of a ledger in PostgreSQL: by whose clock, and what the owners' files and late texts make of them."""

import time
from pathlib import Path

from proxy.stores.shared_ledger.ledger import SharedLedger
from support.conversations import ALL, OWNER, a_message, a_thread
from support.postgres import Database
from support.records import a_record
from support.shared_ledgers import a_shared_ledger, all_of_it, bury, ended, settle

DAY = 86400.0


async def texts(*ledgers: SharedLedger, uid: str = "u1") -> list[str | None]:
    """The text of a record as each of them shows it; None also where there is no such record."""
    found = [await ledger.find("acme", f"task-{uid}") for ledger in ledgers]
    return [None if record is None else record.text for record in found]


async def test_a_wrong_clock_purges_nothing(tmp_path: Path, database: Database) -> None:
    """A replica that takes now for a time long after deletes nothing that is not old by the database's clock."""
    now = time.time()
    async with (
        a_shared_ledger(tmp_path / "a.db", database.url, "one", keep=90 * DAY, text_keep=DAY) as one,
        a_shared_ledger(tmp_path / "b.db", database.url, "late", keep=90 * DAY, text_keep=DAY) as late,
    ):
        await settle(one, ended("u1", started_at=now - 100, ended_at=now - 50))
        await settle(one, ended("old", started_at=now - 3 * DAY, ended_at=now - 2 * DAY))
        await one.wipe_text("other")
        await all_of_it(one.forwarder)
        await one.conversations.add_thread(a_thread(updated_at=now))
        await one.conversations.add_messages(a_message(thread_id=None, ended_at=now))
        assert await late.purge(now + 91 * DAY, dry_run=True) == (1, 0)
        assert await late.purge(now + 91 * DAY) == (1, 0)
        assert await late.conversations.purge(now + 900 * DAY) == (0, 0)
        assert await texts(late) == ["text of u1"]
        assert [each.id for each in (await late.conversations.threads(OWNER, ALL))[0]] == ["t1"]
    assert database.sql("SELECT uid FROM wiped") == [["other"]]


async def test_owners_follow_an_operators_purge(tmp_path: Path, database: Database) -> None:
    """What one replica purges by `before` has no text in the owner's file either."""
    async with (
        a_shared_ledger(tmp_path / "a.db", database.url, "one") as one,
        a_shared_ledger(tmp_path / "b.db", database.url, "two") as two,
    ):
        await settle(one, ended("u1"), ended("young", ended_at=4000.0))
        await all_of_it(one.forwarder)
        assert await two.purge(5000.0, before=3000.0) == (1, 1)
        await all_of_it(one.forwarder)
        assert await texts(one, two) == [None, None]
        assert await texts(one, two, uid="young") == ["text of young"] * 2


async def test_a_purge_forgets_no_deletion(tmp_path: Path, database: Database) -> None:
    """A text that was deleted before it was shared stays so, although an operator purges meanwhile."""
    async with (
        a_shared_ledger(tmp_path / "a.db", database.url, "one") as one,
        a_shared_ledger(tmp_path / "b.db", database.url, "two") as two,
    ):
        await settle(one, ended("u1"))
        await two.wipe_text("u1")
        await all_of_it(two.forwarder)
        await two.purge(time.time(), before=time.time() + 1)
        await all_of_it(one.forwarder)
        assert await texts(two) == [None]
        assert database.sql("SELECT uid, text FROM generation") == [["u1", ""]]


async def test_a_purged_record_comes_back_without_its_text(tmp_path: Path, database: Database) -> None:
    """A buried record is purged before its owner sends its end: that one brings no text."""
    async with (
        a_shared_ledger(tmp_path / "a.db", database.url, "one") as one,
        a_shared_ledger(tmp_path / "b.db", database.url, "two") as two,
    ):
        await one.begin(a_record("u1"))
        await all_of_it(one.forwarder)
        assert await bury(one, two, 2000.0) == 1
        assert await two.purge(5000.0, before=3000.0) == (0, 1)
        await one.end(ended("u1"))
        await all_of_it(one.forwarder)
        assert database.sql("SELECT uid, text FROM generation") == [["u1", ""]]


async def test_deletions_are_forgotten_in_time(tmp_path: Path, database: Database) -> None:
    """Notes of deleted texts go once they are older than a record may be, by the database's clock."""
    async with a_shared_ledger(tmp_path / "a.db", database.url, keep=DAY) as one:
        await one.wipe_text("u1")
        await one.wipe_text("u2")
        await all_of_it(one.forwarder)
        assert abs(float(database.sql("SELECT at FROM wiped")[0][0]) - time.time()) < DAY / 2
        database.sql("UPDATE wiped SET at = at - 2 * 86400 WHERE uid = 'u1'")
        await one.purge(time.time())
    assert database.sql("SELECT uid FROM wiped") == [["u2"]]
