import asyncio
import sqlite3
from contextlib import closing
from decimal import Decimal
from functools import partial
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from proxy.core.lifecycle import Outcome
from proxy.core.record import UsageSource
from proxy.core.settled import Truth
from proxy.stores.ledger.port import LedgerUnavailableError
from proxy.stores.ledger.rows import row_of
from proxy.stores.ledger.truths import Attached, Told
from proxy.stores.ledger.usage import Span
from proxy.stores.shared_ledger.forward import Load, Whose, forward
from proxy.stores.shared_ledger.ledger import SharedLedger
from proxy.stores.shared_ledger.spool import Begun
from support.postgres import Database, a_pool
from support.records import a_record
from support.shared_ledgers import a_shared_ledger, all_of_it, ended, settle
from support.wait import eventually

TOTALS = "SELECT (SELECT count(*) FROM generation), (SELECT count(*) FROM settled), (SELECT count(*) FROM running)"


async def test_what_settles_is_shared_as_it_is(tmp_path: Path, database: Database) -> None:
    """Each field of a record comes out of PostgreSQL as it went in, in the order of the ends."""
    whole = ended(
        "u1",
        user="ann",
        tags={"team": "ä"},
        cost=Decimal("8999999.000000000001"),
        currency="USD",
        price='{"v":1}',
        started_at=1000.1,
        completion_tokens=10**12,
        reason="100 % 'quoted' \\ back",
    )
    async with a_shared_ledger(tmp_path / "q.db", database.url) as ledger:
        await settle(ledger, whole, ended("u2", text="nul \0 and 🙂"))
        await all_of_it(ledger.forwarder)
        page = await ledger.exports.after(0, 10, text=True)
        assert [each.id for each in page.settled] == ["u1.1", "u2.1"]
        assert page.settled[0].record == whole
        assert page.settled[1].record.text == "nul \0 and 🙂"
        assert (ledger.forwarder.pending, ledger.forwarder.lag) == (0, 0.0)
    assert database.sql(TOTALS) == [["2", "2", "0"]]


async def test_running_ones_are_seen_by_others(tmp_path: Path, database: Database) -> None:
    """A START that lives long enough is shared, without its text; its end takes its place."""
    async with (
        a_shared_ledger(tmp_path / "a.db", database.url, "one") as one,
        a_shared_ledger(tmp_path / "b.db", database.url, "two") as two,
    ):
        await one.begin(a_record("u1"))
        one.append("u1", "secret")
        await all_of_it(one.forwarder)
        seen = await two.find("acme", "task-u1")
        assert seen is not None
        assert (seen.outcome, seen.text) == (Outcome.RUNNING, None)
        assert database.sql("SELECT uid, replica FROM running") == [["u1", "one"]]
        await one.end(ended("u1"))
        await all_of_it(one.forwarder)
        seen = await two.find("acme", "task-u1")
        assert seen is not None
        assert (seen.outcome, seen.text) == (Outcome.COMPLETED, "text of u1")
    assert database.sql(TOTALS) == [["1", "1", "0"]]


async def test_short_ones_are_forwarded_once(tmp_path: Path, database: Database) -> None:
    """A generation that ends before the next round is one row, sent as it ended."""
    async with a_shared_ledger(tmp_path / "q.db", database.url) as ledger:
        await settle(ledger, ended("u1"))
        assert ledger.forwarder._starts == {}
        await all_of_it(ledger.forwarder)
    assert database.sql(TOTALS) == [["1", "1", "0"]]


async def test_a_lost_answer_doubles_nothing(
    tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commit is done, its answer is not heard: the same goes once more, and nothing is there twice."""
    async with a_shared_ledger(tmp_path / "q.db", database.url) as ledger:
        await settle(ledger, *(ended(f"u{number}") for number in range(5)))

        async def unheard(*_: object) -> None:
            raise LedgerUnavailableError("the answer was lost")

        with monkeypatch.context() as patched:
            patched.setattr(ledger.local.spool, "forwarded", unheard)
            for _ in range(3):
                with pytest.raises(LedgerUnavailableError):
                    await ledger.forwarder.round()
        assert database.sql(TOTALS) == [["5", "5", "0"]]
        await all_of_it(ledger.forwarder)
        assert ledger.forwarder.overtaken == 0
    assert database.sql(TOTALS) == [["5", "5", "0"]]
    assert database.sql("SELECT count(*) FROM truth") == [["0"]]


async def test_what_ends_while_the_place_is_looked_up_waits(
    tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An END that comes while PostgreSQL is asked how far this spool is counts as waiting from then on."""
    async with a_shared_ledger(tmp_path / "q.db", database.url) as ledger:
        begin, seen = ledger.local.spool.begin, []

        async def begun_then_ended(replica: str) -> Begun:
            found = await begin(replica)
            await settle(ledger, ended("u1"))
            return found

        async def noted(*_: object) -> None:
            seen.append(ledger.forwarder.pending)
            raise LedgerUnavailableError("not now")

        monkeypatch.setattr(ledger.local.spool, "begin", begun_then_ended)
        monkeypatch.setattr(ledger.local.spool, "next", noted)
        with pytest.raises(LedgerUnavailableError):
            await ledger.forwarder.round()
        assert seen == [1]


async def test_a_restart_goes_on_where_it_was(tmp_path: Path, database: Database) -> None:
    """What was not shared when the process died is shared by the next one; what was, is not sent again."""
    for number in range(3):
        async with a_shared_ledger(tmp_path / "q.db", database.url) as ledger:
            await settle(ledger, ended(f"u{number}a"), ended(f"u{number}b"))
            if number != 1:
                await all_of_it(ledger.forwarder)
            assert ledger.forwarder.pending == (0 if number != 1 else 2)
    assert database.sql(TOTALS) == [["6", "6", "0"]]


async def test_a_spool_that_is_missing_is_told(tmp_path: Path, database: Database) -> None:
    """A new spool under a name that shared another one is told of once; the first one, and the same again, are not."""
    told: list[list[str]] = []
    for file in ("one.db", "one.db", "two.db"):
        with capture_logs() as logs:
            async with a_shared_ledger(tmp_path / file, database.url) as ledger:
                await settle(ledger, ended(f"u-{len(told)}"))
                await ledger.forwarder.round()
        told.append([line["replica"] for line in logs if line["event"] == "ledger.spool_is_new"])
    assert told == [[], [], ["one"]]


async def test_another_database_is_filled_from_the_beginning(tmp_path: Path, database: Database) -> None:
    """A file that was forwarded elsewhere is forwarded as a whole; an older copy of a database is filled up again."""
    other = database.server.create()
    for target in (database, other, database):
        async with a_shared_ledger(tmp_path / "q.db", target.url) as ledger:
            await settle(ledger, ended(f"u-{target.name}-{target is other}"))
            await all_of_it(ledger.forwarder)
    assert database.sql(TOTALS) == [["2", "2", "0"]]
    assert other.sql(TOTALS) == [["2", "2", "0"]]
    database.sql("DELETE FROM generation; UPDATE spool SET number = 1")  # as after a restore
    async with a_shared_ledger(tmp_path / "q.db", database.url) as ledger:
        await all_of_it(ledger.forwarder)
    assert database.sql("SELECT count(*) FROM generation") == [["1"]]
    other.server.drop(other)


async def test_purges_spare_what_is_not_shared(tmp_path: Path, database: Database) -> None:
    """Retention takes a local record only once PostgreSQL has it, and then takes it there too."""
    async with a_shared_ledger(tmp_path / "q.db", database.url, keep=10.0) as ledger:
        await settle(ledger, ended("u1"))
        await ledger.local.purge(9000.0)
        assert await ledger.local.find("acme", "task-u1") is not None
        await all_of_it(ledger.forwarder)
        assert await ledger.purge(9000.0, dry_run=True) == (0, 1)
        assert await ledger.purge(9000.0) == (0, 1)
        assert await ledger.local.find("acme", "task-u1") is None
        assert await ledger.find("acme", "task-u1") is None


async def test_a_deleted_text_is_deleted_everywhere(tmp_path: Path, database: Database) -> None:
    """Whoever deletes it, before it was shared or after: neither PostgreSQL nor the owner's file has it any more."""
    async with (
        a_shared_ledger(tmp_path / "a.db", database.url, "one") as one,
        a_shared_ledger(tmp_path / "b.db", database.url, "two") as two,
    ):
        await settle(one, ended("before"), ended("after"), ended("here"))
        await two.wipe_text("before")
        await all_of_it(two.forwarder)
        await all_of_it(one.forwarder)
        assert database.sql("SELECT uid FROM generation WHERE text IS NOT NULL ORDER BY uid") == [["after"], ["here"]]
        await two.wipe_text("after")
        await one.wipe_text("here")
        for _ in range(2):
            await all_of_it(two.forwarder)
            await all_of_it(one.forwarder)
        assert database.sql("SELECT count(*) FROM generation WHERE text IS NOT NULL") == [["0"]]
    with closing(sqlite3.connect(tmp_path / "a.db")) as file:
        assert file.execute("SELECT count(*) FROM generation WHERE text IS NOT NULL").fetchone() == (0,)
        assert file.execute("SELECT count(*) FROM wiped").fetchone() == (0,)


async def test_a_dead_replicas_records_end_once(tmp_path: Path, database: Database) -> None:
    """Several notice it at once: one ends them. The dead one comes back and knows better: its numbers come beside."""
    async with a_shared_ledger(tmp_path / "a.db", database.url, "one") as one:
        for uid in ("done", "cut", "alive"):
            await one.begin(a_record(uid))
        await all_of_it(one.forwarder)
        await one.end(ended("done", cost=Decimal("0.5"), currency="USD"))
        one.append("cut", "some text")
    async with (
        a_shared_ledger(tmp_path / "b.db", database.url, "two") as two,
        a_shared_ledger(tmp_path / "c.db", database.url, "three") as three,
    ):
        leases_are_over(database, two, three)
        found = await asyncio.gather(*(each.interrupt_left("one", 7000.0) for each in (two, three) * 3))
        assert sorted(len(each) for each in found) == [0, 0, 0, 0, 0, 3]
        async with a_shared_ledger(tmp_path / "a.db", database.url, "one") as one:
            for left in await one.unsettled(10):
                left.completion_tokens, left.usage_source = 2, UsageSource.TOKENIZER
                await one.settle(left)
            for _ in range(2):
                await all_of_it(one.forwarder)
            assert one.forwarder.overtaken == 2
            for each in (one, two, three):
                record = await each.find("acme", "task-done")
                assert record is not None
                assert (record.outcome, record.completion_tokens) == (Outcome.INTERRUPTED, 9)
            page = await two.exports.after(0, 10)
            assert {each.id for each in page.settled} == {"done.1", "cut.1", "alive.1", "done.2", "cut.2"}
            truths = {each.id: each.truth for each in page.settled if each.truth is not None}
            assert truths["done.2"].completion_tokens == 9
            assert truths["done.2"].cost == Decimal("0.5")
            assert (truths["cut.2"].source, truths["cut.2"].completion_tokens) == ("replica:one", 2)
    assert database.sql("SELECT count(*) FROM running") == [["0"]]


async def test_ends_that_a_clean_exit_did_not_forward(tmp_path: Path, database: Database) -> None:
    """Its file is lost: others end what it still ran here, as after a crash; then nothing is left of its lease."""
    async with a_shared_ledger(tmp_path / "b.db", database.url, "two", lease=1.0):
        async with a_shared_ledger(tmp_path / "a.db", database.url, "one", lease=1.0) as one:
            await one.begin(a_record("u1"))
            await all_of_it(one.forwarder)
            await one.end(ended("u1"))
        await eventually(
            lambda: database.sql("SELECT outcome FROM generation") == [["interrupted"]], what="it is ended"
        )
        assert database.sql(TOTALS) == [["1", "1", "0"]]
        assert database.sql("SELECT count(*) FROM lease") == [["1"]]


async def test_the_own_file_tells_before_others_end(tmp_path: Path, database: Database) -> None:
    """A life that comes back on its file keeps the lease of the last one until it has told how those records ended."""
    async with a_shared_ledger(tmp_path / "b.db", database.url, "two", lease=5.0) as two:
        async with a_shared_ledger(tmp_path / "a.db", database.url, "one", lease=5.0) as one:
            last = one.forwarder.boot
            for uid in ("known", "unknown"):
                await one.begin(a_record(uid))
            await all_of_it(one.forwarder)
            await settle(one, ended("other"))
            await one.end(ended("known"))
        with closing(sqlite3.connect(tmp_path / "a.db")) as file, file:
            file.execute("DELETE FROM generation WHERE uid = 'unknown'")  # as in an older copy of the file
        async with a_shared_ledger(tmp_path / "a.db", database.url, "one", lease=5.0) as one:
            until = f"SELECT until FROM lease WHERE owner = '{last}'"  # noqa: S608 a name of our own
            await eventually(lambda: one.conversations.burials.buried, what="the last life is buried")
            for _ in range(4):
                await eventually(partial(is_other, database, until, database.sql(until)), what="its lease is kept")
            assert database.sql("SELECT DISTINCT outcome FROM generation") == [["running"]]
            await all_of_it(one.forwarder)
            ends = "SELECT uid, outcome FROM generation ORDER BY uid"
            told = [["known", "completed"], ["other", "completed"], ["unknown", "interrupted"]]
            await eventually(lambda: database.sql(ends) == told, what="the rest is ended")
            await eventually(lambda: database.sql(until) == [], what="its lease is gone")
            assert one.forwarder.overtaken + two.forwarder.overtaken == 0


def is_other(database: Database, statement: str, than: list[list[str]]) -> bool:
    """Whether a statement gives other rows than these."""
    return database.sql(statement) != than


async def test_a_new_life_ends_what_the_last_one_lost(tmp_path: Path, database: Database) -> None:
    """A replica that comes back without its file ends what it ran before, once its lease is over, and no other."""
    async with a_shared_ledger(tmp_path / "a.db", database.url, "one") as one:
        await one.begin(a_record("before"))
        await all_of_it(one.forwarder)
    async with a_shared_ledger(tmp_path / "new.db", database.url, "one") as one:
        await one.begin(a_record("now"))
        await all_of_it(one.forwarder)
        assert await one.interrupt_own() == []
        leases_are_over(database, one)
        assert await one.interrupt_own() == [("/v1", "openai")]
    assert database.sql("SELECT uid, outcome FROM generation ORDER BY uid") == [
        ["before", "interrupted"],
        ["now", "running"],
    ]


def leases_are_over(database: Database, *but: SharedLedger) -> None:
    """Let the leases of all but these be over."""
    spared = ", ".join(f"'{ledger.forwarder.boot}'" for ledger in but)
    database.sql(f"UPDATE lease SET until = 0 WHERE owner NOT IN ({spared})")  # noqa: S608 names of our own


async def test_a_long_transaction_holds_up_no_lease(tmp_path: Path, database: Database) -> None:
    """The forwarder shares a start in a transaction that takes its time: the lease is renewed meanwhile."""
    async with a_shared_ledger(tmp_path / "a.db", database.url, "one") as one, a_pool(database.url) as other:
        holds = one.conversations.holds
        await holds.renew()
        async with other.writing() as connection:
            whose = Whose("the spool", "one", one.forwarder.boot, 10.0)
            await forward(connection, whose, Load(0, starts=[row_of(a_record("u1"), None)]), 5000.0)
            await holds.renew()


async def test_truths_go_to_the_shared_ledger(tmp_path: Path, database: Database) -> None:
    """Any replica attaches one, once; all see it in their exports, and how far off we were."""
    told = [Told("up-1", Truth("bill", 2000.0, completion_tokens=11))]
    async with (
        a_shared_ledger(tmp_path / "a.db", database.url, "one") as one,
        a_shared_ledger(tmp_path / "b.db", database.url, "two") as two,
    ):
        await settle(one, ended("u1", upstream_id="up-1"))
        await all_of_it(one.forwarder)
        results = [(await each.truths.attach(told))[0].result for each in (two, one)]
        assert results == [Attached.ATTACHED, Attached.UNCHANGED]
        assert [each.id for each in (await one.exports.after(0, 10)).settled] == ["u1.1", "u1.2"]
        (drift,) = await two.truths.drift(Span())
        assert (drift.completion_ours, drift.completion_theirs) == (9, 11)


async def test_at_the_bound_new_work_is_refused(tmp_path: Path, database: Database) -> None:
    """With so many records waiting for PostgreSQL the ledger is not healthy and takes no START; an END always."""
    async with a_shared_ledger(tmp_path / "q.db", database.url, backlog=2) as ledger:
        await ledger.begin(a_record("late"))
        await settle(ledger, ended("u1"), ended("u2"))
        assert not ledger.healthy
        with pytest.raises(LedgerUnavailableError, match=r"ledger\.backlog"):
            ledger.begin(a_record("u3"))
        await ledger.end(ended("late"))
        await all_of_it(ledger.forwarder)
        assert ledger.healthy
        await settle(ledger, ended("u3"))


async def test_many_who_ask_share_a_round(tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many lists wait for what is here, one round brings it for all, and a second what came meanwhile."""
    async with a_shared_ledger(tmp_path / "q.db", database.url) as ledger:
        await settle(ledger, ended("u0"))
        await all_of_it(ledger.forwarder)
        await settle(ledger, ended("u1"))
        rounds = 0
        one_round, entered, go_on = ledger.forwarder._round, asyncio.Event(), asyncio.Event()

        async def counted() -> bool:
            nonlocal rounds
            rounds += 1
            entered.set()
            await go_on.wait()
            more = await one_round()
            await ledger.begin(a_record(f"running {rounds}"))  # there is always something new
            return more

        monkeypatch.setattr(ledger.forwarder, "_round", counted)

        async def asked_meanwhile() -> None:
            await entered.wait()
            asyncio.get_running_loop().call_soon(go_on.set)
            await asyncio.gather(*(ledger.forwarder.catch_up(60.0) for _ in range(20)))

        await asyncio.gather(*(ledger.forwarder.catch_up(60.0) for _ in range(20)), asked_meanwhile())
        assert rounds <= 2
        assert ledger.forwarder.pending == 0
