"""What a kill leaves of a generation that ran: what was known of it by then, counted and settled once, for ever."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from proxy.core.generation import Priced
from proxy.core.lifecycle import Outcome, Phase
from proxy.core.record import Known, Record, UsageSource
from proxy.engine.settling.counting import Counter
from proxy.engine.settling.left_records import settle_left_records
from proxy.stores.ledger.port import LedgerUnavailableError
from proxy.stores.ledger.sqlite import SqliteLedger
from proxy.stores.ledger.truths import Attached
from proxy.stores.ledger.verify import verify_file
from support.ledgers import a_ledger, all_written, failing, locked
from support.records import a_record
from support.settled import told

KNOWN = Known(
    phase=Phase.STREAMING,
    upstream_id="chatcmpl-1",
    upstream_model="gpt-4o-2024",
    first_token_at=1000.5,
    prompt_tokens=12,
    completion_tokens=5,
    cached_tokens=4,
    reasoning_tokens=1,
    usage_source=UsageSource.UPSTREAM_RUNNING,
)
TEXT = "one two three four"
TOKENS = 4


async def killed(
    path: Path, record: Record, *, text: str = "", known: Known | None = None, text_policy: str = "partial"
) -> None:
    """A ledger whose process dies while this record runs; what it was given is on disk."""
    async with a_ledger(path, text=text_policy) as ledger:
        await ledger.begin(record)
        if known is not None:
            ledger.note(record.uid, known)
        ledger.append(record.uid, text)
        await all_written(ledger)


async def left(ledger: SqliteLedger) -> Record:
    """The record as it is now."""
    found = await ledger.find("acme", "task-u1")
    assert found is not None
    return found


def settled(path: Path) -> list[tuple[str, int]]:
    """What was given out as ended, in its order."""
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT uid, revision FROM settled ORDER BY number").fetchall()


def unpriced(_record: Record) -> Priced:
    """No price is known."""
    return Priced()


async def counted(ledger: SqliteLedger, encoding: str = "auto", prices: Callable[[Record], Priced] = unpriced) -> None:
    """Count and settle what is left."""
    counter = Counter()
    try:
        await settle_left_records(ledger, counter, lambda _upstream: encoding, prices)
    finally:
        await counter.aclose()


async def test_a_cut_off_record_has_what_was_known(tmp_path: Path) -> None:
    """Id, model, first token, phase and running usage survive, not how long it ran; with its price it is settled."""
    path = tmp_path / "q.db"
    await killed(path, a_record(elapsed_seconds=0.0), text=TEXT, known=KNOWN)
    async with a_ledger(path, now=2000.0) as ledger:
        over = a_record(
            **{name: value for name, value in KNOWN._asdict().items() if name != "characters"},
            outcome=Outcome.INTERRUPTED,
            ended_at=2000.0,
            text=TEXT,
            characters=len(TEXT),
        )
        assert await left(ledger) == over
        assert await ledger.find("acme", "chatcmpl-1") is not None
        assert settled(path) == []
        for cost in ("0.5", "0.7"):
            priced = Priced(Decimal(cost), "USD", '{"input": "1"}')
            await counted(ledger, prices=lambda _record, priced=priced: priced)  # type: ignore[misc]  # mypy: a default
            assert await left(ledger) == replace(over, cost=Decimal("0.5"), currency="USD", price='{"input": "1"}')
        assert await ledger.unsettled(10) == []
    assert settled(path) == [("u1", 1)]


async def test_a_purge_spares_what_is_not_counted_yet(tmp_path: Path) -> None:
    """Neither text nor record of what a kill cut off goes before it is settled, whatever time is meant."""
    path = tmp_path / "q.db"
    await killed(path, a_record(), text=TEXT)
    async with a_ledger(path, now=2000.0) as ledger:
        assert await ledger.purge(9e9, dry_run=True) == (0, 0)
        assert await ledger.purge(9e9) == (0, 0)
        await counted(ledger)
        assert (await left(ledger)).completion_tokens == TOKENS
        assert await ledger.purge(9e9) == (1, 1)


async def test_a_later_truth_comes_behind_the_records_own_numbers(tmp_path: Path) -> None:
    """What a kill cut off takes none before it is settled: the first revision that is given out is its own."""
    path = tmp_path / "q.db"
    await killed(path, a_record(), text=TEXT, known=KNOWN._replace(upstream_id="up-u1"))
    async with a_ledger(path, now=2000.0) as ledger:
        for dry_run in (True, False):
            (early,) = await ledger.truths.attach([told()], dry_run=dry_run)
            assert early.result is Attached.NOT_ENDED
        await counted(ledger)
        (later,) = await ledger.truths.attach([told()])
        assert later.result is Attached.ATTACHED
    assert settled(path) == [("u1", 1), ("u1", 2)]
    assert verify_file(path).findings == []


async def test_the_newest_note_counts(tmp_path: Path) -> None:
    """However many come while the disk is away, one waits for it: the newest."""
    path = tmp_path / "q.db"
    async with a_ledger(path) as ledger:
        await ledger.begin(a_record())
        with locked(path):
            ledger.note("u1", Known())
            await failing(ledger)
            for tokens in range(5):
                ledger.note("u1", replace_known(completion_tokens=tokens))
            assert ledger.pending == 1
        await all_written(ledger)
        assert (await left(ledger)).completion_tokens == 4


def replace_known(**facts: Any) -> Known:
    """KNOWN with other facts."""
    return KNOWN._replace(**facts)


async def test_a_note_changes_only_what_runs(tmp_path: Path) -> None:
    """Behind its END, or of nobody, it is ignored; also when the END waits behind it for the disk."""
    path = tmp_path / "q.db"
    over = replace(a_record(), outcome=Outcome.CANCELLED, ended_at=1001.0, phase=Phase.FINISHED)
    async with a_ledger(path) as ledger:
        await ledger.begin(a_record())
        with locked(path):
            ledger.note("u1", KNOWN)
            await failing(ledger)
            end = ledger.end(over)
            ledger.note("u1", KNOWN)
            ledger.note("nobody", KNOWN)
        await end
        ledger.note("u1", KNOWN)
        await all_written(ledger)
        assert await left(ledger) == over


async def test_a_text_is_counted_behind_the_start(tmp_path: Path) -> None:
    """Where the upstream had not said how many, the kept text is counted; until then nothing is settled."""
    path = tmp_path / "q.db"
    await killed(path, a_record(model="gpt-4o"), text=TEXT, known=Known(phase=Phase.STREAMING, prompt_tokens=7))
    async with a_ledger(path) as ledger:
        before = await left(ledger)
        assert (before.outcome, before.completion_tokens, settled(path)) == (Outcome.INTERRUPTED, None, [])
        await counted(ledger)
        after = await left(ledger)
        assert after == replace(
            before, completion_tokens=TOKENS, usage_source=UsageSource.TOKENIZER, encoding="o200k_base"
        )
        assert after.prompt_tokens == 7
        assert settled(path) == [("u1", 1)]


async def test_a_kill_before_the_count_is_made_good_at_the_next_start(tmp_path: Path) -> None:
    """A record that was ended and not yet settled is found again, and settled once."""
    path = tmp_path / "q.db"
    await killed(path, a_record(), text=TEXT)
    for _ in range(2):
        async with a_ledger(path, now=2000.0) as ledger:
            assert [record.uid for record in await ledger.unsettled(10)] == ["u1"]
    async with a_ledger(path, now=3000.0) as ledger:
        await counted(ledger)
        await counted(ledger)
        found = await left(ledger)
        assert (found.ended_at, found.completion_tokens) == (2000.0, TOKENS)
    assert settled(path) == [("u1", 1)]
    assert verify_file(path).findings == []


async def test_a_settled_record_never_changes(tmp_path: Path) -> None:
    """A second count, whatever it says, changes nothing, and says so."""
    path = tmp_path / "q.db"
    await killed(path, a_record(), text=TEXT)
    async with a_ledger(path) as ledger:
        (record,) = await ledger.unsettled(10)
        assert await ledger.settle(replace(record, completion_tokens=3)) == 1
        before = await left(ledger)
        assert await ledger.settle(replace(record, completion_tokens=99)) == 0
        assert await left(ledger) == before
    assert settled(path) == [("u1", 1)]


@pytest.mark.parametrize(
    ("text", "noted", "policy", "tokens", "source"),
    [
        ("", None, "partial", None, UsageSource.NONE),
        ("", 400, "partial", 100, UsageSource.ESTIMATE),
        (TEXT, 4 * len(TEXT), "partial", 4 * TOKENS, UsageSource.ESTIMATE),
        (TEXT, 400, "none", 100, UsageSource.ESTIMATE),
        (TEXT, None, "none", None, UsageSource.NONE),
    ],
    ids=["nothing heard", "reasoning only", "text and reasoning", "no text kept", "no text kept, nothing known"],
)
async def test_what_counts_beyond_the_text_is_estimated(
    tmp_path: Path, text: str, noted: int | None, policy: str, tokens: int | None, source: UsageSource
) -> None:
    """Tokens that left no text are not taken for none: their characters make an estimate, else they are unknown."""
    path = tmp_path / "q.db"
    await killed(path, a_record(), text=text, known=Known(Phase.STREAMING, characters=noted), text_policy=policy)
    async with a_ledger(path, text=policy) as ledger:
        await counted(ledger)
        found = await left(ledger)
    assert (found.completion_tokens, found.usage_source) == (tokens, source)
    assert found.characters == (None if policy == "none" else len(text))
    assert settled(path) == [("u1", 1)]
    assert verify_file(path).findings == []


async def test_a_clock_set_back_ends_nothing_before_it_began(tmp_path: Path) -> None:
    """P8: a start with an earlier clock ends what is left at its own last known moment."""
    path = tmp_path / "q.db"
    await killed(path, a_record(), known=KNOWN)
    async with a_ledger(path, now=10.0) as ledger:
        assert (await left(ledger)).ended_at == 1000.5
        await counted(ledger)
    assert verify_file(path).findings == []


async def test_a_ledger_that_fails_is_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The count waits for a ledger that can't be read now, and is then done."""
    monkeypatch.setattr("proxy.engine.settling.left_records.RETRY_SECONDS", 0.01)
    path = tmp_path / "q.db"
    await killed(path, a_record(), text=TEXT)
    async with a_ledger(path) as ledger:
        real, refusals = ledger.unsettled, [1, 2]

        async def refusing(limit: int) -> list[Record]:
            if refusals:
                refusals.pop()
                raise LedgerUnavailableError("not now")
            return await real(limit)

        monkeypatch.setattr(ledger, "unsettled", refusing)
        await counted(ledger)
        assert (await left(ledger)).completion_tokens == TOKENS
