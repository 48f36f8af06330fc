"""Conversations in PostgreSQL: outages, lost answers, several replicas at one time, and what a dead one leaves."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from proxy.core.conversation import MessageStatus
from proxy.core.ids import new_id
from proxy.stores.conversations import postgres_writes
from proxy.stores.conversations.holds import Held
from proxy.stores.conversations.port import Owner
from proxy.stores.conversations.postgres import PostgresConversations
from proxy.stores.ledger.port import LedgerUnavailableError
from support.conversations import OWNER, a_message, a_thread, an_item, begun, in_thread, text_of
from support.postgres import Database, pgbouncer, postgres_server
from support.shared import shared_conversations
from support.tcp_link import TcpLink, tcp_link
from support.wait import eventually

QUICK = 3.0
"""Seconds of patience where the database is away."""


@asynccontextmanager
async def several(url: str, folder: Path, many: int, **settings: Any) -> AsyncIterator[list[PostgresConversations]]:
    """Replicas on one database."""
    async with AsyncExitStack() as stack:
        opened = []
        for number in range(many):
            place = folder / f"{number}.db"
            opened.append(await stack.enter_async_context(shared_conversations(url, place, **settings)))
            await opened[-1].find_thread(OWNER, "")  # the tables are made
        yield opened


def held(key: str = "t1") -> Held:
    """A new hold."""
    return Held(OWNER.identity, OWNER.dialect, key, new_id())


async def test_an_outage(tmp_path: Path) -> None:
    """What begins is refused at once; an end is kept, and written with the texts once PostgreSQL is back."""
    async with postgres_server() as server:
        url = server.create().url
        async with shared_conversations(url, tmp_path / "q.db", patience=QUICK) as store:
            assert await store.add_thread(a_thread())
            assert await store.add_messages(begun("m1"), begun("m2"))
            assert await store.add_items(an_item(is_open=True))
            server.kill()
            began = time.monotonic()
            with pytest.raises(LedgerUnavailableError):
                await store.add_messages(begun("m3"))
            with pytest.raises(LedgerUnavailableError):
                await store.find_message(OWNER, "m1")
            assert time.monotonic() - began < 10 * QUICK
            store.append(OWNER, "m2", "so far")
            assert await store.end_message(OWNER, "m1", MessageStatus.COMPLETED, ended_at=2.0, text="whole")
            assert await store.update_item(OWNER, "run", "r1", {"is": "over"}, is_open=False)
            assert store.late > 1
            await server.start()
            await eventually(lambda: not store.late, what="all is written")
            assert await text_of(store) == "whole"
            found = await store.find_item(OWNER, "run", "r1")
            assert found is not None
            assert (found.body, found.is_open) == ({"is": "over"}, False)
            await eventually(lambda: is_text(store, "m2", "so far"))
            assert await store.find_message(OWNER, "m3") is None


async def is_text(store: PostgresConversations, message_id: str, text: str) -> bool:
    """Whether a message has that text."""
    return await text_of(store, message_id) == text


async def test_an_end_that_only_the_file_has(tmp_path: Path) -> None:
    """It outlives the process: the next one writes it, over what others presumed meanwhile."""
    file = tmp_path / "q.db"
    async with postgres_server() as server:
        database = server.create()
        async with shared_conversations(database.url, file, patience=QUICK, lease=1.0) as store:
            await store.add_messages(begun(thread_id=None))
            server.kill()
            await store.end_message(OWNER, "m1", MessageStatus.COMPLETED, ended_at=2.0, text="whole")
        await server.start()
        async with several(database.url, tmp_path, 1, lease=1.0) as (other,):
            await eventually(lambda: other.burials.buried, what="the dead one is buried")
            found = await other.find_message(OWNER, "m1")
            assert found is not None
            assert found.status is MessageStatus.INTERRUPTED
            async with shared_conversations(database.url, file) as store:
                await eventually(lambda: not store.late, what="all is written")
            assert await text_of(other) == "whole"


async def test_an_answer_that_was_lost(database: Database, tmp_path: Path) -> None:
    """The commit came, its answer did not: it is said again, and is there once."""
    async with tcp_link(database.server.port) as link:
        async with shared_conversations(database.url_at(link.port), tmp_path / "q.db") as store:
            assert await store.add_thread(a_thread())
            for number in range(3):
                link.cut_behind(b"COMMIT")
                adding = asyncio.create_task(store.add_messages(a_message(f"m{number}", generation="g")))  # noqa: TID251 to cut it
                cuts = link.cuts
                await eventually(partial(is_cut, link, cuts), what="an answer is cut")
                link.cut_behind(b"")
                assert await adding
            assert await in_thread(store) == ["m0", "m1", "m2"]
            link.cut_behind(b"COMMIT")
            deleting = asyncio.create_task(store.delete_messages(OWNER, "m0", "m2"))  # noqa: TID251 to cut it
            await eventually(lambda: link.cuts > 3, what="an answer is cut")
            link.cut_behind(b"")
            assert await deleting == ["g", "g"]


def is_cut(link: TcpLink, cuts: int) -> bool:
    """Whether more answers were cut than that."""
    return link.cuts > cuts


async def test_what_failed_is_not_there(database: Database, tmp_path: Path) -> None:
    """What was committed, and its caller was told that it failed, is taken back."""
    async with tcp_link(database.server.port) as link:
        async with shared_conversations(database.url_at(link.port), tmp_path / "q.db", patience=QUICK) as store:
            await store.add_thread(a_thread())
            link.cut_behind(b"COMMIT")
            with pytest.raises(LedgerUnavailableError):
                await store.add_messages(begun())
            assert database.sql("SELECT id FROM message") == [["m1"]]
            link.cut_behind(b"")
            await eventually(lambda: database.sql("SELECT id FROM message") == [], what="it is taken back")
            assert await store.add_messages(begun())


async def test_a_silent_database(database: Database, tmp_path: Path) -> None:
    """Nothing waits longer than its patience, whatever does not come."""
    async with tcp_link(database.server.port) as link:
        async with shared_conversations(database.url_at(link.port), tmp_path / "q.db", patience=QUICK) as store:
            await store.add_messages(begun(thread_id=None))
            link.audible.clear()
            for call in (store.add_thread(a_thread()), store.find_message(OWNER, "m1"), store.holds.take(held(), "")):
                began = time.monotonic()
                with pytest.raises(LedgerUnavailableError):
                    await call
                assert time.monotonic() - began < 10 * QUICK
            link.audible.set()
            await eventually(lambda: is_text(store, "m1", ""), what="it answers again")


async def test_texts_of_many_messages_go_in_one_transaction(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a sweep appends is one transaction, however many messages grow."""
    async with shared_conversations(database.url, tmp_path / "q.db") as store:
        await store.add_messages(*(begun(f"m{number}", None) for number in range(50)))
        written = []
        write = store._writes._write_pieces

        async def counted() -> None:
            written.append(len(store._writes._pieces))
            await write()

        monkeypatch.setattr(store._writes, "_write_pieces", counted)
        for number in range(50):
            store.append(OWNER, f"m{number}", f"text {number}")
        await eventually(lambda: is_text(store, "m49", "text 49"))
        assert written == [50]


async def test_one_of_many_holds_a_thread(database: Database, tmp_path: Path) -> None:
    """Of many that want it at one time one gets it; the others hear its label; let go of, it is another's."""
    async with several(database.url, tmp_path, 3) as stores:
        wanted = [held() for _ in stores]
        takes = [stores[number].holds.take(wanted[number], f"run of {number}") for number in range(3)]
        taken = await asyncio.gather(*takes)
        assert sorted(taken) == [False, False, True]
        (winner,) = [number for number, won in enumerate(taken) if won]
        labels = [await store.holds.label(OWNER.identity, OWNER.dialect, "t1") for store in stores]
        assert labels == [None if number == winner else f"run of {winner}" for number in range(3)]
        assert await stores[winner - 1].holds.take(held("t2"), "")
        await stores[winner].holds.free(wanted[winner])
        assert await stores[winner - 1].holds.take(held(), "")


async def test_what_a_dead_replica_left(database: Database, tmp_path: Path) -> None:
    """Its messages are interrupted with their text, its items marked, its holds free: once, by whoever notices."""
    async with several(database.url, tmp_path, 3, lease=1.0) as (dead, *others):
        await dead.add_thread(a_thread())
        await dead.add_messages(begun("m1", text="So: "), a_message("m2"))
        await dead.add_items(an_item(is_open=True))
        assert await dead.holds.take(held(), "")
        dead.append(OWNER, "m1", "half\0 an ")
        dead.append(OWNER, "m1", "answer")
        await eventually(lambda: is_text(others[0], "m1", "So: half\0 an answer"))
        dead._tasks[1].cancel()  # it renews no more
        await eventually(lambda: sum(other.burials.buried for other in others), what="it is buried")
        message, item = await others[0].find_message(OWNER, "m1"), await others[1].find_item(OWNER, "run", "r1")
        assert message is not None
        assert item is not None
        assert (message.status, message.text) == (MessageStatus.INTERRUPTED, "So: half\0 an answer")
        assert (item.is_open, item.is_interrupted) == (False, True)
        assert await others[1].holds.take(held(), "")
        assert sum(other.burials.buried for other in others) == 1
        assert database.sql("SELECT count(*) FROM message_text") == [["0"]]
        assert await dead.end_message(OWNER, "m1", MessageStatus.COMPLETED, ended_at=2.0, text="whole")  # it lived
        assert await text_of(others[0]) == "whole"


async def test_a_file_that_comes_back(database: Database, tmp_path: Path) -> None:
    """Who has the file of a dead process sees that its lease is renewed no more, and need not wait until it is over."""
    async with shared_conversations(database.url, tmp_path / "a.db", lease=6.0, place="one") as dead:
        await dead.add_messages(begun(thread_id=None))
        dead._tasks[1].cancel()
        async with shared_conversations(database.url, tmp_path / "b.db", lease=6.0, place="one") as next_life:
            await eventually(lambda: next_life.burials.buried, what="it is buried")
            assert next_life.holds.grace() > 0  # it does not judge leases yet
            found = await next_life.find_message(OWNER, "m1")
            assert found is not None
            assert found.status is MessageStatus.INTERRUPTED


def judges(store: PostgresConversations) -> bool:
    """Whether a replica has looked for its last life, and looks for the dead."""
    return store.holds.grace() == 0.0 and store._tasks[3].done()


async def test_a_file_that_was_copied(database: Database, tmp_path: Path) -> None:
    """Two live on copies of one file: each leaves the other alone while it lives, and buries it when it is dead."""
    async with several(database.url, tmp_path, 2, lease=1.5, place="one") as (one, two):
        await one.add_messages(begun(thread_id=None))
        assert await one.holds.take(held(), "")
        for each in (one, two):
            await eventually(partial(judges, each), what="it judges")
        assert database.sql("SELECT status FROM message") == [["in_progress"]]
        assert not await two.holds.take(held(), "")
        assert (one.burials.buried, two.burials.buried) == (0, 0)
        one._tasks[1].cancel()
        await eventually(lambda: two.burials.buried, what="it is buried")
        assert await two.holds.take(held(), "")


async def test_nobody_is_dead_because_the_database_was_away(tmp_path: Path) -> None:
    """After an outage longer than the lease each has the time to renew before anybody judges."""
    async with postgres_server() as server:
        async with several(server.create().url, tmp_path, 2, lease=2.0, patience=QUICK) as stores:
            await stores[0].add_messages(begun(thread_id=None))
            assert await stores[0].holds.take(held(), "")
            server.kill()
            await asyncio.sleep(2.5)
            await server.start()
            renewed = [store.holds._renewed for store in stores]
            await eventually(
                lambda: all(store.holds._renewed > before for store, before in zip(stores, renewed, strict=True))
            )
            await asyncio.sleep(2.5)
            assert [store.burials.buried for store in stores] == [0, 0]
            assert not await stores[1].holds.take(held(), "")


async def test_what_could_not_be_let_go_of(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So much was to be written behind that it was forgotten: the thread is free soon, and what is held stays held."""
    async with several(database.url, tmp_path, 2, lease=1.0) as (one, two):
        kept, gone = held("kept"), held("gone")
        assert await one.holds.take(kept, "")
        assert await one.holds.take(gone, "")
        monkeypatch.setattr(postgres_writes, "MOST_BEHIND", 0)
        one.holds.let_go(gone)
        await eventually(lambda: two.holds.take(held("gone"), ""), what="it is free")
        assert not await two.holds.take(held("kept"), "")


async def test_a_busy_replica_lives(database: Database, tmp_path: Path) -> None:
    """While its conversations have every connection, and its burials do not end, it renews its lease all the same."""
    async with several(database.url, tmp_path, 1, lease=1.0) as (busy,):
        await eventually(partial(is_renewed, busy, 0.0), what="it has a lease")
        done, begun_ones = asyncio.Event(), []

        async def works(_: AsyncConnection) -> None:
            begun_ones.append(True)
            await done.wait()

        async def buries() -> list[str]:
            begun_ones.append(True)
            await done.wait()
            return []

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(busy.burials, "_dead", buries)
            await eventually(lambda: begun_ones, what="it buries")  # while a connection is free for that
            async with asyncio.TaskGroup() as tasks:
                for _ in range(8):
                    tasks.create_task(busy._writes.transact(works, 30.0))
                await eventually(lambda: len(begun_ones) == 9, what="nothing is free")
                for _ in range(2):
                    renewed = busy.holds._renewed
                    await eventually(partial(is_renewed, busy, renewed), what="it is renewed")
                done.set()


def is_renewed(store: PostgresConversations, before: float) -> bool:
    """Whether a replica has renewed its lease since then."""
    return store.holds._renewed > before


async def test_deletions_against_additions(database: Database, tmp_path: Path) -> None:
    """Threads are deleted while others put messages in, let them grow and end them: nothing is left behind."""
    async with several(database.url, tmp_path, 2) as (one, two):
        for number in range(25):
            thread = f"t{number}"
            await one.add_thread(a_thread(thread))
            await one.add_messages(begun(f"m{number}", thread))

            async def grow(thread: str = thread, number: int = number) -> None:
                one.append(OWNER, f"m{number}", "text")
                await asyncio.gather(
                    one.add_messages(a_message(f"x{number}", thread)),
                    one.add_items(an_item(f"r{number}", thread_id=thread)),
                    one.end_message(OWNER, f"m{number}", MessageStatus.COMPLETED, ended_at=2.0, text="whole"),
                )

            _, gone = await asyncio.gather(grow(), two.delete_thread(Owner("acme", "dify"), thread))
            assert gone == []
        for table in ("message", "message_text", "item", "thread"):
            assert database.sql(f"SELECT count(*) FROM {table}") == [["0"]]  # noqa: S608 names of our own


async def test_behind_a_pooler(database: Database, tmp_path: Path) -> None:
    """A pooler in transaction mode gives each transaction another connection, and nothing is missed."""
    async with pgbouncer(database) as port, several(database.url_at(port), tmp_path, 2) as (one, two):
        await one.add_thread(a_thread())
        assert await one.holds.take(held(), "run")
        await asyncio.gather(*(one.add_messages(begun(f"m{number}")) for number in range(20)))
        for number in range(20):
            one.append(OWNER, f"m{number}", "text")
        await eventually(lambda: is_text(two, "m19", "text"))
        await asyncio.gather(
            *(
                store.end_message(OWNER, f"m{number}", MessageStatus.COMPLETED, ended_at=2.0, text="whole")
                for number, store in zip(range(20), [one, two] * 10, strict=True)
            )
        )
        assert len(await in_thread(two)) == 20
        assert await two.delete_thread(OWNER, "t1") == []
