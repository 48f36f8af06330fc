"""What every ledger that keeps records must do; run over each implementation."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from proxy.core.lifecycle import OUTCOME_OF, Cause, Outcome, Phase
from proxy.core.receipt import LIST_TEXT
from proxy.core.record import Record, Settlement, UsageSource
from proxy.stores.ledger.port import Ledger, LedgerUnavailableError, RecordFilter, UsedFilter, UsedRow
from proxy.stores.ledger.usage import Span, UsageQuery
from support.ledgers import a_ledger
from support.records import a_record

Opener: TypeAlias = Callable[..., AbstractAsyncContextManager[Ledger]]


@pytest.fixture(params=["sqlite"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Opener:
    """How to open the implementation under test; the same storage each time within one test."""
    openers: dict[str, Opener] = {"sqlite": partial(a_ledger, tmp_path / "ledger.db")}
    return openers[request.param]


@pytest.fixture
async def ledger(opened: Opener) -> AsyncIterator[Ledger]:
    """The implementation under test, open, with `text: partial`."""
    async with opened() as implementation:
        yield implementation


def ended(record: Record, outcome: Outcome = Outcome.CANCELLED, **facts: Any) -> Record:
    """The same record, over."""
    known: dict[str, Any] = {"outcome": outcome, "ended_at": 1001.0, "phase": Phase.FINISHED}
    return replace(record, **(known | facts))


def everything() -> Record:
    """A record with no field left at its default."""
    return a_record(
        model="gpt-4o",
        user="ann",
        tags={"team": "search", "ä": "ö"},
        upstream_id="chatcmpl-1",
        upstream_model="gpt-4o-2024",
        first_token_at=1000.5,
        ended_at=1001.25,
        outcome=Outcome.CANCELLED,
        cause=Cause.OPERATOR,
        cancelled_by="root",
        reason="too long",
        prompt_tokens=12,
        completion_tokens=213,
        cached_tokens=4,
        reasoning_tokens=5,
        usage_source=UsageSource.TOKENIZER,
        cost=Decimal("0.123456789012"),
        currency="USD",
        characters=5,
        text="hello",
        text_clipped=True,
        error_kind="reset",
        phase=Phase.FINISHED,
        elapsed_seconds=1.25,
        upstream_closed_ms=1.8,
        settlement=Settlement.DRAINED,
        price='{"input": "2.50"}',
        encoding="o200k_base",
        max_tokens=1000,
        late_tokens=7,
        saved_most=787,
        saved_typical=100,
    )


async def test_a_record_comes_back_as_it_was_ended(ledger: Ledger) -> None:
    """Every field survives the disk, costs to the last digit."""
    await ledger.begin(a_record())
    await ledger.end(everything())
    assert await ledger.find("acme", "task-u1") == everything()


async def test_sizes_of_complete_answers(ledger: Ledger) -> None:
    """Of the newest records those that are complete and counted give model, route and tokens, the oldest first."""
    facts: dict[str, Any] = {"outcome": Outcome.COMPLETED, "completion_tokens": 5}
    records = [
        ended(a_record("u1", started_at=1.0), **facts),
        ended(a_record("u2", started_at=2.0, model="m"), **facts),
        ended(a_record("u3", started_at=3.0), Outcome.CANCELLED, completion_tokens=7),
        ended(a_record("u4", started_at=4.0), Outcome.COMPLETED, completion_tokens=None),
        ended(a_record("u5", started_at=5.0, route="/v2"), Outcome.COMPLETED, completion_tokens=9),
    ]
    for record in records:
        ledger.begin(record)
        await ledger.end(record)
    await ledger.begin(a_record("u6", started_at=6.0))
    assert await ledger.sizes(100) == [(None, "/v1", 5), ("m", "/v1", 5), (None, "/v2", 9)]
    assert await ledger.sizes(5) == [("m", "/v1", 5), (None, "/v2", 9)]


async def test_a_start_is_found_while_it_runs(ledger: Ledger) -> None:
    """A durable START is a running record, with the text of its pieces in their order."""
    await ledger.begin(a_record())
    for piece in ("one ", "two ", "three"):
        ledger.append("u1", piece)
    await ledger.begin(a_record("u2"))
    found = await ledger.find("acme", "task-u1")
    assert found == a_record(text="one two three")


async def test_an_end_catches_up_with_its_start(ledger: Ledger) -> None:
    """An END queued in the same breath as its START ends that record."""
    start, end = ledger.begin(a_record()), ledger.end(ended(a_record(), text="x"))
    await end
    assert start.done()
    assert await ledger.find("acme", "task-u1") == ended(a_record(), text="x")


@pytest.mark.parametrize("at_once", [True, False])
async def test_the_first_end_counts_for_ever(ledger: Ledger, at_once: bool) -> None:
    """A second END is acknowledged and changes nothing, whether it meets the first in the queue or on disk."""
    await ledger.begin(a_record())
    first = ledger.end(ended(a_record(), Outcome.FAILED))
    if not at_once:
        await first
    await ledger.end(ended(a_record(), Outcome.COMPLETED, prompt_tokens=9))
    assert await ledger.find("acme", "task-u1") == ended(a_record(), Outcome.FAILED)


async def test_text_after_the_end_is_ignored(ledger: Ledger) -> None:
    """A piece that comes after the END leaves the record as it ended."""
    await ledger.begin(a_record())
    ledger.append("u1", "kept")
    ledger.end(ended(a_record()))
    ledger.append("u1", " lost")
    await ledger.begin(a_record("u2"))
    found = await ledger.find("acme", "task-u1")
    assert found is not None
    assert found.text == "kept"


@pytest.mark.parametrize(
    ("policy", "outcome", "kept"),
    [
        ("none", Outcome.CANCELLED, None),
        ("none", Outcome.COMPLETED, None),
        ("partial", Outcome.CANCELLED, "text"),
        ("partial", Outcome.COMPLETED, None),
        ("all", Outcome.CANCELLED, "text"),
        ("all", Outcome.COMPLETED, "text"),
    ],
)
@pytest.mark.parametrize("given", [True, False])
async def test_the_settings_say_whose_text_stays(
    opened: Opener, policy: str, outcome: Outcome, kept: str | None, given: bool
) -> None:
    """`none` keeps no text, `partial` that of what did not complete, `all` all; the count of characters stays."""
    async with opened(text=policy) as ledger:
        await ledger.begin(a_record())
        ledger.append("u1", "te")
        await ledger.begin(a_record("u2"))
        ledger.append("u1", "xt")
        await ledger.end(ended(a_record(), outcome, text="text" if given else None, characters=4))
        found = await ledger.find("acme", "task-u1")
        assert found is not None
        assert (found.text, found.characters) == (kept, 4)


async def test_what_ran_when_the_process_died_is_interrupted(opened: Opener) -> None:
    """The next start ends what was running, once, with the text that was on disk and the phase it was in."""
    async with opened() as ledger:
        await ledger.begin(a_record(phase=Phase.STREAMING))
        ledger.append("u1", "half an\0 ans")
        ledger.append("u1", "wer ☃")
        await ledger.begin(a_record("u2"))
        await ledger.end(ended(a_record("u2")))
    expected = a_record(
        phase=Phase.STREAMING,
        outcome=Outcome.INTERRUPTED,
        ended_at=7000.0,
        text="half an\0 answer ☃",
        characters=17,
    )
    for now in (7000.0, 8000.0):
        async with opened(now=now) as ledger:
            assert await ledger.find("acme", "task-u1") == expected
            assert await ledger.find("acme", "task-u2") == ended(a_record("u2"))


async def test_an_interrupted_record_takes_no_other_end(opened: Opener) -> None:
    """An END that comes after the recovery changes nothing."""
    async with opened() as ledger:
        await ledger.begin(a_record())
    async with opened() as ledger:
        await ledger.end(ended(a_record(), Outcome.COMPLETED))
        found = await ledger.find("acme", "task-u1")
        assert found is not None
        assert found.outcome is Outcome.INTERRUPTED


def read_on(**facts: Any) -> Record:
    """A record that a stop has released after 1.25 s, and whose upstream is read on."""
    runs: dict[str, Any] = {"outcome": Outcome.RUNNING, "ended_at": None, "phase": Phase.STREAMING}
    runs |= {"elapsed_seconds": 1.25, "error_kind": None, "upstream_closed_ms": None, "text": None}
    return replace(everything(), **(runs | facts))


async def test_a_stop_behind_which_it_is_read_on(ledger: Ledger) -> None:
    """The record runs on and says who stopped it; the newest stop counts, and its END says it all."""
    await ledger.begin(a_record(settlement=Settlement.DRAINED, max_tokens=1000, model="gpt-4o", user="ann"))
    await ledger.stop(read_on(completion_tokens=1, late_tokens=None))
    await ledger.stop(read_on())
    found = await ledger.find("acme", "task-u1")
    assert found == replace(read_on(), tags={})
    assert await ledger.find("acme", "chatcmpl-1") == found
    await ledger.end(everything())
    assert await ledger.find("acme", "task-u1") == everything()


@pytest.mark.parametrize("begun", [False, True])
async def test_a_stop_of_what_does_not_run_fails(ledger: Ledger, begun: bool) -> None:
    """Nobody is told that a stop is kept of a record that is not there, or has ended: that one stays as it is."""
    if begun:
        await ledger.begin(a_record())
        await ledger.end(everything())
    with pytest.raises(LedgerUnavailableError):
        await ledger.stop(read_on(reason="too late"))
    assert await ledger.find("acme", "task-u1") == (everything() if begun else None)


@pytest.mark.parametrize("cause", Cause)
async def test_a_stop_is_the_end_of_what_died_behind_it(opened: Opener, cause: Cause) -> None:
    """Of a process that died while it read on, the record ends as the stop said, when it came, with what was known."""
    async with opened() as ledger:
        await ledger.begin(replace(everything(), outcome=Outcome.RUNNING, ended_at=None, text=None, text_clipped=False))
        ledger.append("u1", "hel")
        ledger.append("u1", "lo")
        await ledger.stop(read_on(cause=cause))
    expected = replace(read_on(cause=cause), outcome=OUTCOME_OF[cause], ended_at=1001.25, text="hello")
    async with opened(now=9000.0) as ledger:
        found = await ledger.find("acme", "task-u1")
        assert found is not None
        assert replace(found, error_kind=None, upstream_closed_ms=None) == expected
        assert await ledger.unsettled(10) == []
        page = await ledger.outbox.after(0, 5)
        assert [each.id for each in page.settled] == ["u1.1"]


@pytest.mark.parametrize(("policy", "kept"), [("none", None), ("partial", None), ("all", "hello")])
async def test_a_complete_answer_whose_usage_was_waited_for(opened: Opener, policy: str, kept: str | None) -> None:
    """A stop that came behind the last word has no cause to say: what died then is complete, with the counts it had."""
    async with opened(text=policy) as ledger:
        await ledger.begin(a_record())
        ledger.append("u1", "hello")
        await ledger.stop(read_on(cause=None, cancelled_by=None, reason=None, phase=Phase.FINISHED))
    async with opened(text=policy) as ledger:
        found = await ledger.find("acme", "task-u1")
    assert found is not None
    assert (found.outcome, found.phase, found.ended_at) == (Outcome.COMPLETED, Phase.FINISHED, 1001.25)
    assert (found.completion_tokens, found.cost, found.text) == (213, Decimal("0.123456789012"), kept)


async def test_a_wiped_text_stays_wiped_behind_a_stop(opened: Opener) -> None:
    """What was deleted while its upstream was read on is not there after a kill; the numbers are."""
    async with opened() as ledger:
        await ledger.begin(a_record())
        ledger.append("u1", "hello")
        await ledger.wipe_text("u1")
        await ledger.stop(read_on())
    async with opened() as ledger:
        found = await ledger.find("acme", "task-u1")
    assert found is not None
    assert (found.outcome, found.text, found.characters) == (Outcome.CANCELLED, None, 5)


async def test_an_id_names_the_newest_and_a_task_id_goes_first(ledger: Ledger) -> None:
    """A task id goes before a message id, that before an upstream id; of several records the newest counts."""
    old = a_record("u1", task_id="again", started_at=1.0)
    new = a_record("u2", task_id="again", started_at=2.0)
    alias = a_record("u3", message_id="again", started_at=3.0)
    far = a_record("u4", started_at=4.0)
    for record in (new, old, alias, far):
        await ledger.begin(record)
        await ledger.end(ended(record, upstream_id="again" if record is far else f"up-{record.uid}"))
    for wanted, uid in (("again", "u2"), ("message-u1", "u1"), ("up-u3", "u3")):
        found = await ledger.find("acme", wanted)
        assert found is not None
        assert found.uid == uid
    assert await ledger.find("acme", "unknown") is None


async def test_a_foreign_id_looks_unknown_but_not_to_the_operator(ledger: Ledger) -> None:
    """Two callers may use one id without meeting; without an identity everybody's records are looked at."""
    await ledger.begin(a_record("u1", task_id="same"))
    await ledger.begin(a_record("u2", task_id="same", identity="other", started_at=2000.0))
    for identity, uid in (("acme", "u1"), ("other", "u2"), (None, "u2")):
        found = await ledger.find(identity, "same")
        assert found is not None
        assert found.uid == uid
    assert await ledger.find("third", "same") is None


async def test_an_alias_of_two_running_records_means_nothing(ledger: Ledger) -> None:
    """An upstream id that two running records of one caller share is unknown until one of them is over."""
    for uid in ("u1", "u2"):
        await ledger.begin(a_record(uid, upstream_id="shared"))
    assert await ledger.find("acme", "shared") is None
    await ledger.end(ended(a_record("u1", upstream_id="shared")))
    found = await ledger.find("acme", "shared")
    assert found is not None
    assert found.uid == "u2"


async def test_pages_go_through_all_records_newest_first(ledger: Ledger) -> None:
    """Following the cursors shows each record once, also those that started at the same instant."""
    for number in range(7):
        await ledger.begin(a_record(f"u{number}", started_at=1000.0 + number // 3))
    seen: list[str] = []
    cursor: str | None = None
    while True:
        page = await ledger.page(RecordFilter(), 2, cursor)
        seen += [record.uid for record in page.records]
        if (cursor := page.next_cursor) is None:
            break
    assert seen == ["u6", "u5", "u4", "u3", "u2", "u1", "u0"]


async def test_pages_come_without_whole_texts(ledger: Ledger) -> None:
    """Of a long text a page has the beginning and enough to see that there is more; the record alone has all of it."""
    text = "ü" * (LIST_TEXT + 500)
    await ledger.end(ended(a_record(), text=text))
    (listed,) = (await ledger.page(RecordFilter(), 5, None)).records
    assert listed.text == text[: LIST_TEXT + 1]
    found = await ledger.find(None, "task-u1")
    assert found is not None
    assert found.text == text
    assert replace(listed, text=text) == found


async def test_transactions_are_counted(ledger: Ledger) -> None:
    """What was written is counted."""
    await ledger.begin(a_record())
    await ledger.end(ended(a_record()))
    assert ledger.transactions == (2, 0)


@pytest.mark.parametrize(
    "cursor",
    ["", "x", "bm90aGluZw", "WzEsMiwzXQ", "WyJhIiwiYiJd", "ÄÖ", "a" * 5000, "W1tb" * 9000, "WzFlOTk5OTksIngiXQ="],
)
async def test_a_foreign_cursor_is_refused(ledger: Ledger, cursor: str) -> None:
    """A cursor that was not given out here is an error that says what to do."""
    with pytest.raises(ValueError, match="leave it out"):
        await ledger.page(RecordFilter(), 10, cursor)


@pytest.mark.parametrize(
    ("which", "uids"),
    [
        (RecordFilter(identity="acme"), ["u1"]),
        (RecordFilter(user="ann"), ["u1"]),
        (RecordFilter(key_id="k2"), ["u2"]),
        (RecordFilter(route="/other"), ["u2"]),
        (RecordFilter(model="m1"), ["u1"]),
        (RecordFilter(tag=("team", "a.b")), ["u2"]),
        (RecordFilter(tag=("team", "c")), []),
        (RecordFilter(state="live"), ["u2"]),
        (RecordFilter(state="ended"), ["u1"]),
        (RecordFilter(started_before=1500.0), ["u1"]),
        (RecordFilter(identity="acme", state="live"), []),
        (RecordFilter(), ["u2", "u1"]),
    ],
)
async def test_a_filter_shows_what_fits(ledger: Ledger, which: RecordFilter, uids: list[str]) -> None:
    """Each criterion holds by itself, several hold together."""
    await ledger.begin(a_record("u1", user="ann", model="m1"))
    await ledger.end(ended(a_record("u1", user="ann", model="m1")))
    other = {"identity": "other", "key_id": "k2", "route": "/other", "tags": {"team": "a.b"}, "started_at": 2000.0}
    await ledger.begin(a_record("u2", **other))
    page = await ledger.page(which, 10, None)
    assert [record.uid for record in page.records] == uids


@pytest.mark.parametrize(
    ("by", "rows"),
    [
        ("model", [(("m2",), 1, 100, 1, 0), (("m1",), 2, 30, 5, 1), ((None,), 1, None, None, 1)]),
        ("key", [(("acme",), 4, 130, 6, 2)]),
        ("user", [((None,), 4, 130, 6, 2)]),
        ("route", [(("/v1",), 4, 130, 6, 2)]),
        ("day", [(("2024-02-29",), 3, 120, 6, 1), (("2024-03-01",), 1, 10, None, 1)]),
        ("outcome", [(("completed",), 3, 130, 6, 1), (("failed",), 1, None, None, 1)]),
        ("tag:team", [(("a",), 2, 120, 6, 0), ((None,), 2, 10, None, 2)]),
        ("day,model", [(("2024-02-29", "m2"), 1, 100, 1, 0), (("2024-02-29", "m1"), 1, 20, 5, 0)]),
    ],
)
async def test_usage_sums_by_group(ledger: Ledger, by: str, rows: list[tuple[Any, ...]]) -> None:
    """Tokens are summed per group, most first; what lacks a count is unknown, and a sum of nothing known too."""
    day = 1709164800.0
    for uid, started_at, model, prompt, completion in (
        ("u0", day - 1, "m1", 1000, 1000),
        ("u1", day, "m1", 20, 5),
        ("u2", day + 86400, "m1", 10, None),
        ("u3", day + 5, "m2", 100, 1),
        ("u4", day + 86399, None, None, None),
    ):
        tags = {"team": "a"} if completion else {"te": "a", 'te"am': "b"}
        record = a_record(uid, started_at=started_at, model=model, tags=tags)
        outcome = Outcome.COMPLETED if model else Outcome.FAILED
        await ledger.begin(record)
        await ledger.end(ended(record, outcome, prompt_tokens=prompt, completion_tokens=completion))
    found = await ledger.usage(UsageQuery(tuple(by.split(",")), Span(day)))
    shown = [(r.group, r.generations, r.prompt_tokens, r.completion_tokens, r.unknown) for r in found]
    assert shown[: len(rows)] == rows
    assert sum(row.generations for row in found) == 4


async def test_wiping_takes_the_text_and_leaves_the_numbers(ledger: Ledger) -> None:
    """A wiped record has no text; everything else stays."""
    await ledger.begin(a_record())
    await ledger.end(everything())
    await ledger.wipe_text("u1")
    assert await ledger.find("acme", "task-u1") == replace(everything(), text=None)


async def test_wiping_a_running_record_holds_for_its_end_too(ledger: Ledger) -> None:
    """A running record whose text was wiped gives no text to the disk any more, not even with its END."""
    await ledger.begin(a_record())
    ledger.append("u1", "secret")
    await ledger.wipe_text("u1")
    ledger.append("u1", " more")
    await ledger.begin(a_record("u2"))
    assert await ledger.find("acme", "task-u1") == a_record()
    await ledger.end(ended(a_record(), text="secret more", characters=11))
    assert await ledger.find("acme", "task-u1") == ended(a_record(), characters=11)


async def test_retention_takes_texts_first_and_records_later(ledger: Ledger) -> None:
    """What ended longer ago than `text_keep` loses its text, longer than `keep` goes; what runs stays."""
    await ledger.begin(a_record("old"))
    for number in range(3):
        record = a_record(f"u{number}")
        await ledger.begin(record)
        await ledger.end(ended(record, ended_at=1000.0 + number, text="text"))
    assert await ledger.purge(1101.0) == (1, 0)
    assert await ledger.purge(1101.0) == (0, 0)
    assert await ledger.purge(2001.5) == (2, 2)
    page = await ledger.page(RecordFilter(), 10, None)
    assert [(record.uid, record.text) for record in page.records] == [("u2", None), ("old", None)]


async def test_retention_takes_any_number_of_records(ledger: Ledger) -> None:
    """A purge goes on until nothing old is left."""
    for number in range(450):
        record = a_record(f"u{number}")
        ledger.begin(record)
        last = ledger.end(ended(record, text="text"))
    await last
    assert await ledger.purge(1200.0) == (450, 0)
    assert await ledger.purge(9000.0) == (0, 450)


async def test_no_value_breaks_the_writer(ledger: Ledger) -> None:
    """Lone surrogates become U+FFFD, numbers beyond all sense are unknown; other records are not held up."""
    bad = "a\ud800b"
    record = a_record(task_id="t", user=bad, model=bad, reason=bad, tags={bad: bad}, identity=bad)
    begun = ledger.begin(record)
    ledger.append("u1", bad)
    await begun
    over = ended(record, text=bad + "\U0001f600", prompt_tokens=10**40, completion_tokens=-1, characters=3)
    await ledger.end(over)
    found = await ledger.find(bad, "t")
    assert found is not None
    assert (found.user, found.tags, found.text) == ("a�b", {"a�b": "a�b"}, "a�b\U0001f600")
    assert (found.prompt_tokens, found.completion_tokens, found.characters) == (None, None, 3)
    assert [r.uid for r in (await ledger.page(RecordFilter(tag=(bad, bad)), 5, None)).records] == ["u1"]


async def test_closing_writes_what_is_queued(opened: Opener) -> None:
    """Nobody has to wait for a future: what was queued before the close is there after it."""
    async with opened() as ledger:
        start = ledger.begin(a_record())
        ledger.append("u1", "text")
        end = ledger.end(ended(a_record()))
    assert start.done()
    assert end.done()
    async with opened() as ledger:
        assert await ledger.find("acme", "task-u1") == ended(a_record(), text="text")


async def test_what_callers_and_their_users_have_used(ledger: Ledger) -> None:
    """Sums by caller or its users, at each replica, of what started within a time; unknown counts as nothing."""
    uses: list[tuple[str, str, str | None, float, int | None, str | None]] = [
        ("u1", "acme", "ann", 1000.0, 10, "0.000000000001"),
        ("u2", "acme", "ann", 1001.0, 20, "2.5"),
        ("u3", "acme", None, 1002.0, None, None),
        ("u4", "other", "ann", 1003.0, 7, "1"),
        ("too early", "acme", "ann", 999.9, 1000, "1"),
        ("too late", "acme", "ann", 1010.0, 1000, "1"),
        ("left out", "acme", "ann", 1004.0, 1000, "1"),
    ]
    for uid, identity, user, at, tokens, cost in uses:
        replica = "r2" if identity == "other" else "r1"
        record = a_record(uid, identity=identity, user=user, started_at=at, replica=replica)
        await ledger.begin(record)
        paid = None if cost is None else Decimal(cost)
        await ledger.end(ended(record, completion_tokens=tokens, cost=paid, elapsed_seconds=1.5))
    await ledger.begin(a_record("runs", started_at=1005.0, replica="r1"))
    which = UsedFilter(1000.0, 1010.0, by_user=True, most=10, without=["left out", "unknown"])
    assert await ledger.used(which) == [
        UsedRow("acme", "ann", "r1", 3.0, 30, Decimal("2.500000000001")),
        UsedRow("other", "ann", "r2", 1.5, 7, Decimal(1)),
        UsedRow("acme", None, "r1", 1.5, 0, Decimal(0)),
    ]
    assert await ledger.used(replace(which, by_user=False, most=1)) == [
        UsedRow("acme", None, "r1", 4.5, 30, Decimal("2.500000000001"))
    ]


async def test_what_was_used_may_be_more_than_64_bits(ledger: Ledger) -> None:
    """Costs in a currency of small units add up to more than any one of them may be."""
    for number in range(3):
        record = a_record(f"u{number}", started_at=1000.0)
        await ledger.begin(record)
        await ledger.end(ended(record, completion_tokens=1, cost=Decimal("8999999.5"), elapsed_seconds=1.0))
    (used,) = await ledger.used(UsedFilter(1000.0, 1010.0, by_user=False, most=10, without=[]))
    assert used.cost == Decimal("26999998.5")
