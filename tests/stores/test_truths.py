"""Later truths: which record one finds, that the record stays as it was, and that replays change nothing."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from proxy.core.lifecycle import Outcome
from proxy.stores.ledger import transaction as ledger_transaction
from proxy.stores.ledger.gather import Gathered
from proxy.stores.ledger.sqlite import SqliteLedger
from proxy.stores.ledger.truths import Attached, Drift, Told
from proxy.stores.ledger.usage import Span, UsageQuery
from support.ledgers import a_ledger
from support.settled import over, settle, told

FULL: dict[str, Any] = {
    "prompt_tokens": 8,
    "completion_tokens": 6,
    "cached_tokens": 1,
    "reasoning_tokens": 2,
    "cost": Decimal("0.3"),
    "currency": "USD",
}


@pytest.fixture(params=["once", "each transaction written twice"])
async def ledger(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[SqliteLedger]:
    """A ledger with few records. The answer to a transaction may get lost; nobody may be able to tell."""
    if request.param != "once":
        write = ledger_transaction._write

        def twice(db: sqlite3.Connection, batch: Gathered) -> list[int]:
            first = write(db, batch)
            write(db, batch)
            return first

        monkeypatch.setattr(ledger_transaction, "_write", twice)
    async with a_ledger(tmp_path / "q.db") as opened:
        yield opened


async def results(ledger: SqliteLedger, *truths: Told, dry_run: bool = False) -> list[str]:
    """What became of truths."""
    return [str(each.result) for each in await ledger.truths.attach(truths, dry_run=dry_run)]


async def revisions(ledger: SqliteLedger) -> list[str]:
    """The ids of all versions."""
    return [each.id for each in (await ledger.outbox.after(0, 1000)).settled]


async def test_a_truth_is_a_revision_and_the_record_stays(ledger: SqliteLedger) -> None:
    """A truth is found by the upstream's id and kept in full; record and sums stay as they were."""
    await settle(ledger, over())
    before = await ledger.usage(UsageQuery(("model",)))
    assert await results(ledger, told(**FULL)) == ["attached"]
    (first, second) = (await ledger.outbox.after(0, 10)).settled
    assert (first.id, first.record, first.truth) == ("u1.1", over(), None)
    assert (second.id, second.record, second.truth) == ("u1.2", over(), told(**FULL).truth)
    assert await ledger.find(None, "task-u1") == over()
    assert await ledger.usage(UsageQuery(("model",))) == before


async def test_what_was_said_before_is_unchanged(ledger: SqliteLedger) -> None:
    """The same of the same source is no new revision, also behind another one; from another source it is one."""
    await settle(ledger, over())
    one, two = told(completion_tokens=6), told(completion_tokens=7)
    assert await results(ledger, one, one, two) == ["attached", "unchanged", "attached"]
    later = replace(one, truth=replace(one.truth, at=9000.0))
    assert await results(ledger, later, two, one) == ["unchanged"] * 3
    assert await results(ledger, told(source="other", completion_tokens=6)) == ["attached"]
    assert await revisions(ledger) == ["u1.1", "u1.2", "u1.3", "u1.4"]


async def test_what_finds_no_record(ledger: SqliteLedger) -> None:
    """An unknown id, one of several records, one of a running record: nothing is written, the others are attached."""
    await settle(ledger, over("a", upstream_id="same"), over("b", upstream_id="same", upstream="two"), over("c"))
    await ledger.begin(over("runs", outcome=Outcome.RUNNING, ended_at=None))
    truths = [told("none"), Told("same", told().truth), told("runs"), told("c"), Told("same", told().truth, "two")]
    expected = [Attached.UNKNOWN, Attached.AMBIGUOUS, Attached.NOT_ENDED, Attached.ATTACHED, Attached.ATTACHED]
    assert await results(ledger, *truths) == expected
    assert (await revisions(ledger))[3:] == ["c.2", "b.2"]


async def test_a_dry_run_writes_nothing(ledger: SqliteLedger) -> None:
    """A dry run says what would become of each, of two equal ones too, and that is all it does."""
    await settle(ledger, over())
    assert await results(ledger, told(), told("none"), told(), dry_run=True) == ["attached", "unknown", "unchanged"]
    assert await revisions(ledger) == ["u1.1"]


async def test_two_at_once_attach_once(ledger: SqliteLedger) -> None:
    """What was attached between the look and the write is unchanged, and makes no second revision."""
    await settle(ledger, over())
    found = await ledger.truths.attach([told()], dry_run=True)
    await ledger.truths.attach([told()])
    await ledger.truths._write([told()], found)
    assert found[0].result is Attached.UNCHANGED
    assert await revisions(ledger) == ["u1.1", "u1.2"]


async def test_a_record_that_goes_takes_its_truths(tmp_path: Path) -> None:
    """What retention deletes is deleted with all that was said of it."""
    async with a_ledger(tmp_path / "q.db") as ledger:
        await settle(ledger, over())
        await ledger.truths.attach([told()])
        assert await ledger.purge(9e9) == (0, 1)
    with closing(sqlite3.connect(tmp_path / "q.db")) as connection:
        for table in ("truth", "settled"):
            assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)  # noqa: S608 two names


async def test_untold_records_are_those_a_source_said_nothing_of(ledger: SqliteLedger) -> None:
    """Ended records of the upstream with its id, page by page, without those that this source has told of."""
    await settle(ledger, *(over(f"u{n}", started_at=float(n)) for n in range(5)), over("x", upstream_id=None))
    await settle(ledger, over("y", upstream="two"))
    await ledger.truths.attach([told("u1", "router"), told("u2", "bill")])
    first = await ledger.truths.untold("openai", "router", 0, 2, Span())
    rest = await ledger.truths.untold("openai", "router", first[-1].position, 9, Span(until=4.0))
    assert [each.upstream_id for each in first + rest] == ["up-u0", "up-u2", "up-u3"]


async def test_an_attachment_knows_what_its_source_said_before(ledger: SqliteLedger) -> None:
    """Behind a truth stands the last one of the same source, told in an earlier call or in the same one."""
    await settle(ledger, over())
    one, two, other = told(completion_tokens=6), told(completion_tokens=7), told(source="other")
    found = await ledger.truths.attach([one, other, two])
    assert [each.before for each in found] == [None, None, one.truth]
    (third,) = await ledger.truths.attach([told(completion_tokens=8)])
    assert third.before == two.truth


async def test_drift_compares_what_each_source_said_last(ledger: SqliteLedger) -> None:
    """For each upstream, model and source: what both sides know, else nothing; the newest of each; one currency."""
    await settle(ledger, over("a"), over("b"), over("c", model="n", prompt_tokens=None, completion_tokens=None))
    await settle(ledger, over("d", model="n", cost=Decimal(2), currency="EUR"), over("untold"))
    cost: dict[str, Any] = {"cost": Decimal("0.5"), "currency": "USD"}
    await ledger.truths.attach(
        [
            told("a", prompt_tokens=100, completion_tokens=100),
            told("a", "other", prompt_tokens=50, completion_tokens=7),
            told("a", prompt_tokens=8, completion_tokens=4, **cost),
            told("b", completion_tokens=5, cached_tokens=3),
            told("c", completion_tokens=9, **cost),
            told("d", **cost),
        ]
    )
    assert await ledger.truths.drift(Span()) == [
        Drift("openai", "m", "bill", 2, 7, 8, 10, 9, 0, {"USD": (Decimal("0.25"), Decimal("0.5"))}),
        Drift("openai", "m", "other", 1, 7, 50, 5, 7),
        Drift("openai", "n", "bill", 2, None, None, None, None, 2, {"USD": (Decimal("0.25"), Decimal("0.5"))}),
    ]
    assert await ledger.truths.drift(Span(until=5.0)) == []
