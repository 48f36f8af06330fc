"""What the owner of a record knew that others had ended in its place: in sums, lists, single records and exports."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from proxy.core.lifecycle import Outcome
from proxy.core.record import Record, UsageSource
from proxy.core.settled import Truth
from proxy.stores.ledger.port import RecordFilter, UsedFilter
from proxy.stores.ledger.truths import Attached, Told
from proxy.stores.ledger.usage import UsageQuery
from proxy.stores.shared_ledger.ledger import SharedLedger
from support.postgres import Database
from support.records import a_record
from support.shared_ledgers import a_shared_ledger, all_of_it, ended, settle
from support.shared_ledgers import bury as interrupted

KNOWN: dict[str, Any] = {"cost": Decimal("0.5"), "currency": "USD", "upstream_id": "up-1"}


async def bury(owner: SharedLedger, other: SharedLedger, *uids: str, late: bool = True) -> None:
    """The owner's records begin, are ended by the other, and then by their owner, with numbers and a text."""
    for uid in uids:
        await owner.begin(a_record(uid))
    await all_of_it(owner.forwarder)
    assert await interrupted(owner, other) == len(uids)
    if late:
        for uid in uids:
            await owner.end(ended(uid, **KNOWN))
        await all_of_it(owner.forwarder)


async def listed(ledger: SharedLedger) -> dict[str, Record]:
    """The records of a list, by uid."""
    return {record.uid: record for record in (await ledger.page(RecordFilter(), 10, None)).records}


async def test_late_numbers_count(tmp_path: Path, database: Database) -> None:
    """Sums, lists and the record itself have what its owner knew; its outcome and its first version stay."""
    async with (
        a_shared_ledger(tmp_path / "a.db", database.url, "one") as one,
        a_shared_ledger(tmp_path / "b.db", database.url, "two") as two,
    ):
        await bury(one, two, "late", "later")
        await settle(two, ended("other"))
        for ledger in (one, two):
            await all_of_it(two.forwarder)
            (row,) = await ledger.usage(UsageQuery(("route",)))
            assert (row.generations, row.prompt_tokens, row.completion_tokens, row.unknown) == (3, 21, 27, 0)
            assert (row.costs, row.cost_unknown) == ({"USD": Decimal(1)}, 1)
            (used,) = await ledger.used(UsedFilter(0.0, 9000.0, by_user=False, most=10))
            assert (used.completion_tokens, used.cost) == (27, Decimal(1))
            found = await ledger.find("acme", "task-late")
            for record in (found, (await listed(ledger))["late"]):
                assert record is not None
                assert (record.outcome, record.completion_tokens) == (Outcome.INTERRUPTED, 9)
                assert (record.cost, record.currency) == (Decimal("0.5"), "USD")
                assert (record.usage_source, record.text) == (UsageSource.ESTIMATE, "text of late")
        first = (await two.exports.after(0, 10, text=True)).settled[0]
        assert (first.id, first.record.outcome, first.record.completion_tokens) == (
            "late.1",
            Outcome.INTERRUPTED,
            None,
        )


async def test_others_truths_are_not_the_owners(tmp_path: Path, database: Database) -> None:
    """A bill changes no sum, however late it is; of two that the owner told the newer counts."""
    async with (
        a_shared_ledger(tmp_path / "a.db", database.url, "one") as one,
        a_shared_ledger(tmp_path / "b.db", database.url, "two") as two,
    ):
        await bury(one, two, "u1")
        for tokens, source in ((10, "replica:one"), (900, "bill")):
            database.sql("UPDATE generation SET upstream_id = 'up-1'")
            told = Told("up-1", Truth(source, 8000.0, completion_tokens=tokens))
            assert [each.result for each in await two.truths.attach([told])] == [Attached.ATTACHED]
        (row,) = await two.usage(UsageQuery(("route",)))
        assert (row.completion_tokens, row.unknown) == (10, 1)


@pytest.mark.parametrize("before", [True, False])
async def test_a_late_text_that_was_deleted_stays_so(tmp_path: Path, database: Database, before: bool) -> None:
    """Whoever deletes the text of a record that is buried, its owner brings none, and keeps none."""
    async with (
        a_shared_ledger(tmp_path / "a.db", database.url, "one") as one,
        a_shared_ledger(tmp_path / "b.db", database.url, "two") as two,
    ):
        await bury(one, two, "u1", late=not before)
        await two.wipe_text("u1")
        await all_of_it(two.forwarder)
        if before:
            await one.local.end(ended("u1"))
            one.forwarder.ended("u1")
        for _ in range(2):
            await all_of_it(one.forwarder)
        for ledger in (one, two):
            found = await ledger.find("acme", "task-u1")
            assert found is not None
            assert (found.completion_tokens, found.text) == (9, None)
        own = await one.local.find("acme", "task-u1")
        assert own is not None
        assert own.text is None


async def test_a_late_text_follows_the_policy(tmp_path: Path, database: Database) -> None:
    """An owner that keeps no texts brings none."""
    async with (
        a_shared_ledger(tmp_path / "a.db", database.url, "one", text="none") as one,
        a_shared_ledger(tmp_path / "b.db", database.url, "two") as two,
    ):
        await bury(one, two, "u1")
        found = await two.find("acme", "task-u1")
        assert found is not None
        assert (found.completion_tokens, found.text) == (9, None)


async def test_what_the_sink_says_is_what_the_export_adds(tmp_path: Path, database: Database) -> None:
    """A buried record's owner tells its sink the numbers that the export has in the owner's truth."""
    async with (
        a_shared_ledger(tmp_path / "a.db", database.url, "one") as one,
        a_shared_ledger(tmp_path / "b.db", database.url, "two") as two,
    ):
        await bury(one, two, "u1")
        (told,) = (await one.outbox.after(0, 10)).settled
        exported = (await two.exports.after(0, 10)).settled
        assert (told.id, [each.id for each in exported]) == ("u1.1", ["u1.1", "u1.2"])
        truth = exported[1].truth
        assert truth is not None
        assert truth.source == "replica:one"
        for name in ("prompt_tokens", "completion_tokens", "cost", "currency"):
            assert getattr(told.record, name) == getattr(truth, name)
        assert (await two.outbox.after(0, 10)).settled == []
