"""The outbox: what has settled, in its order, and who has been served how far."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError

from proxy.core.lifecycle import Outcome
from proxy.stores.ledger.outbox import ForeignPositionError, OutboxPage
from proxy.stores.ledger.port import LedgerUnavailableError
from proxy.stores.ledger.reports import read_only
from proxy.stores.ledger.sqlite import SqliteLedger
from proxy.stores.ledger.usage import Span
from support.ledgers import a_ledger, locked
from support.records import a_record
from support.settled import over, settle, told
from support.wait import within


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[SqliteLedger]:
    """A ledger with few records."""
    async with a_ledger(tmp_path / "q.db") as opened:
        yield opened


def ids(page: OutboxPage) -> list[str]:
    """The ids of a page's versions."""
    return [each.id for each in page.settled]


async def test_versions_come_in_the_order_of_their_ends(ledger: SqliteLedger) -> None:
    """Ends and later truths come in the order in which they came to the disk; what runs is not among them."""
    await ledger.begin(a_record("runs"))
    await settle(ledger, over("b", started_at=9.0), over("a", started_at=1.0))
    await ledger.truths.attach([told("b")])
    await settle(ledger, over("c"))
    page = await ledger.outbox.after(0, 10)
    assert (ids(page), page.more, page.position, page.end) == (["b.1", "a.1", "b.2", "c.1"], False, 4, 4)
    assert [each.truth and each.truth.completion_tokens for each in page.settled] == [None, None, 6, None]
    assert page.settled[2].record == page.settled[0].record


async def test_pages_go_on_where_they_were(ledger: SqliteLedger) -> None:
    """Following the positions gives everything once; at the end there is nothing until something new settles."""
    await settle(ledger, *(over(f"u{n}") for n in range(5)))
    seen, position, more = [], 0, True
    while more:
        page = await ledger.outbox.after(position, 2)
        seen += ids(page)
        position, more = page.position, page.more
    assert seen == [f"u{n}.1" for n in range(5)]
    assert ids(await ledger.outbox.after(position, 2)) == []
    await settle(ledger, over("new"))
    assert ids(await ledger.outbox.after(position, 2)) == ["new.1"]


async def test_a_position_behind_the_end_is_foreign(ledger: SqliteLedger) -> None:
    """A position that this ledger never had is refused; one whose records are all deleted is not."""
    await settle(ledger, over())
    with pytest.raises(ForeignPositionError):
        await ledger.outbox.after(2, 10)
    assert await ledger.purge(9e9) == (0, 1)
    assert await ledger.outbox.after(1, 10) == OutboxPage([], 1, 1, more=False)


async def test_a_span_chooses_by_the_start(ledger: SqliteLedger) -> None:
    """Only what started within the span is given, and the position still reaches up to the end."""
    await settle(ledger, *(over(f"u{n}", started_at=float(n)) for n in range(5)))
    page = await ledger.outbox.after(0, 10, Span(1.0, 3.0))
    assert (ids(page), page.position) == (["u1.1", "u2.1"], 5)


async def test_texts_come_only_when_asked_for(ledger: SqliteLedger) -> None:
    """By default no text is even read."""
    await settle(ledger, over(outcome=Outcome.FAILED, text="words"))
    (plain,) = (await ledger.outbox.after(0, 1)).settled
    (full,) = (await ledger.outbox.after(0, 1, text=True)).settled
    assert (plain.record.text, full.record.text) == (None, "words")


async def test_a_position_is_kept_and_never_goes_back(tmp_path: Path) -> None:
    """How far a consumer was served is there after a restart; an older position that comes late changes nothing."""
    async with a_ledger(tmp_path / "q.db") as ledger:
        assert await ledger.outbox.position("sink") == 0
        await ledger.outbox.advance("sink", 7)
        await ledger.outbox.advance("sink", 5)
        await ledger.outbox.advance("other", 3)
    async with a_ledger(tmp_path / "q.db") as ledger:
        assert [await ledger.outbox.position(name) for name in ("sink", "other")] == [7, 3]


async def test_growth_is_announced(ledger: SqliteLedger) -> None:
    """Whoever waits is woken by an end, and by a later truth."""
    for change in (settle(ledger, over()), ledger.truths.attach([told()])):
        ledger.outbox.grew.clear()
        waiting = asyncio.create_task(ledger.outbox.grew.wait())  # noqa: TID251 the test awaits it itself
        await change
        await within(waiting, "the outbox says that it grew")
    assert await ledger.outbox.pending(0) == 2
    assert await ledger.outbox.pending(1) == 1


async def test_a_purge_spares_what_a_held_consumer_was_not_served(ledger: SqliteLedger) -> None:
    """Old records up to the consumer's position go, in a dry run too; the others when it was served or lets go."""
    await settle(ledger, *(over(f"u{n}") for n in range(4)))
    ledger.outbox.hold("sink", held=True)
    assert await ledger.purge(9e9) == (0, 0)
    await ledger.outbox.advance("sink", 2)
    await ledger.truths.attach([told("u0")])
    assert await ledger.purge(9e9, dry_run=True) == (0, 1)
    assert await ledger.purge(9e9) == (0, 1)
    assert ids(await ledger.outbox.after(2, 10)) == ["u2.1", "u3.1", "u0.2"]
    ledger.outbox.hold("sink", held=False)
    assert await ledger.purge(9e9) == (0, 3)


async def test_a_reader_of_the_file_sees_what_the_ledger_sees(tmp_path: Path) -> None:
    """A ledger's file is read beside a running writer, also while that is kept waiting."""
    path = tmp_path / "q.db"
    async with a_ledger(path) as ledger:
        await settle(ledger, over())
        with locked(path), read_only(path) as connection:
            assert connection.exec_driver_sql("SELECT uid FROM settled").scalar() == "u1"
            assert ids(await ledger.outbox.after(0, 1)) == ["u1.1"]


async def test_sorting_needs_no_place_for_files(ledger: SqliteLedger) -> None:
    """What can't be sorted in files is sorted in memory; the answer is the same."""
    asked: list[int] = []

    def question(connection: Connection) -> int:
        asked.append(connection.exec_driver_sql("PRAGMA temp_store").scalar_one())
        if len(asked) == 1:
            raise OperationalError("SELECT 1", (), Exception("database or disk is full"))
        return 7

    assert await ledger.outbox._reports.ask(question) == 7
    assert asked == [1, 2]


async def test_an_unreadable_file_is_an_unavailable_ledger(ledger: SqliteLedger) -> None:
    """What SQLite refuses to read is told as the ledger's own error."""
    for name in ("q.db", "q.db-wal", "q.db-shm"):
        ledger.path.with_name(name).unlink(missing_ok=True)
    with pytest.raises(LedgerUnavailableError, match="can't be read"):
        await ledger.outbox.after(0, 1)
