"""Tests of proxy.core.settlement: what a stopped generation is billed for, and what its stop spared, as tables."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.generation import Counted, Spared
from proxy.core.record import Settlement, UsageSource
from proxy.core.settlement import Beyond, Bills, Settled, complete, costs_nothing, settle, spared
from proxy.core.usage import Usage

PRODUCED, DRAINED, VOID = Settlement
UPSTREAM, RUNNING, TOKENIZER, ESTIMATE, NONE = UsageSource


def made(tokens: int | None, source: UsageSource = TOKENIZER, prompt: int | None = 10) -> Counted:
    """What was counted at the stop."""
    return Counted(Usage(prompt_tokens=prompt, completion_tokens=tokens), source, "o200k_base")


def beyond(total: int | None, behind: int, before: int = 40, **more: Any) -> Beyond:
    """What was read behind it; `total`: the upstream's count of completion tokens, with 11 of the prompt.

    `running`: its last running total, likewise.
    """
    usage = None if total is None else Usage(11, total, more.pop("cached", None), more.pop("reasoning", None))
    running = Usage(11, more["running"]) if "running" in more else None
    return Beyond(usage, before, behind, more.get("shows_reasoning", False), more.get("to_the_end", True), running)


@pytest.mark.parametrize(
    ("policy", "at_the_stop", "read_on", "prompt", "completion", "source", "late"),
    [
        # Closed: what was counted stands, and nobody knows what came late.
        (PRODUCED, made(20), None, 10, 20, TOKENIZER, None),
        (DRAINED, made(20), None, 10, 20, TOKENIZER, None),
        (VOID, made(20), None, 10, 20, TOKENIZER, None),
        (PRODUCED, made(None, NONE, None), None, None, None, NONE, None),
        # Read on to the upstream's own count.
        (PRODUCED, made(20), beyond(50, 60), 11, 20, TOKENIZER, 30),
        (DRAINED, made(20), beyond(50, 60), 11, 50, UPSTREAM, 30),
        (VOID, made(20), beyond(50, 60), 11, 20, TOKENIZER, 30),
        (PRODUCED, made(20, RUNNING), beyond(50, 60), 11, 20, RUNNING, 30),
        (PRODUCED, made(0), beyond(50, 60, 0), 11, 0, TOKENIZER, 50),
        # Nothing was said any more: all was made before the stop, whatever our tokenizer makes of it.
        (PRODUCED, made(20), beyond(18, 0), 11, 18, UPSTREAM, 0),
        (PRODUCED, made(20), beyond(25, 0), 11, 25, UPSTREAM, 0),
        # Late is never negative.
        (PRODUCED, made(20), beyond(15, 1), 11, 15, TOKENIZER, 0),
        (DRAINED, made(20), beyond(15, 1), 11, 15, UPSTREAM, 0),
        # Thought unseen before the first word; but not where it was seen, nor where a running total has it.
        (PRODUCED, made(20), beyond(90, 60, reasoning=30), 11, 50, TOKENIZER, 40),
        (PRODUCED, made(20), beyond(90, 60, reasoning=30, shows_reasoning=True), 11, 20, TOKENIZER, 70),
        (PRODUCED, made(20, RUNNING), beyond(90, 60, reasoning=30), 11, 20, RUNNING, 70),
        (PRODUCED, made(0), beyond(90, 60, 0, reasoning=30), 11, 0, TOKENIZER, 90),
        # An answer that comes whole: nobody saw how much was made by then.
        (PRODUCED, made(None), beyond(50, 200, 0), 11, None, TOKENIZER, None),
        (PRODUCED, made(None, NONE, None), beyond(50, 200, 0), 11, None, UPSTREAM, None),
        (DRAINED, made(None), beyond(50, 200, 0), 11, 50, UPSTREAM, None),
        # No count came: cut short, or an upstream that has none.
        (PRODUCED, made(20), beyond(None, 60), 10, 20, TOKENIZER, 30),
        (DRAINED, made(20), beyond(None, 60), 10, 50, ESTIMATE, 30),
        (DRAINED, made(20), beyond(None, 0), 10, 20, TOKENIZER, 0),
        (DRAINED, made(0), beyond(None, 61, 0), 10, 16, ESTIMATE, 16),
        (DRAINED, made(None), beyond(None, 0, 0), 10, None, TOKENIZER, None),
        # … but the upstream counted along: its last total says how many there were by then.
        (PRODUCED, made(20, RUNNING), beyond(None, 60, running=33), 10, 20, RUNNING, 13),
        (DRAINED, made(20, RUNNING), beyond(None, 60, running=33), 11, 33, RUNNING, 13),
        (DRAINED, made(20), beyond(None, 60, running=33), 11, 33, RUNNING, 13),
        (DRAINED, made(20), beyond(None, 60, running=19), 10, 50, ESTIMATE, 30),
        (DRAINED, made(None), beyond(None, 0, 0, running=33), 10, None, TOKENIZER, None),
    ],
)
def test_what_is_billed(
    policy: Settlement,
    at_the_stop: Counted,
    read_on: Beyond | None,
    prompt: int | None,
    completion: int | None,
    source: UsageSource,
    late: int | None,
) -> None:
    """The policy and what was read behind the stop give the counts."""
    found = settle(policy, at_the_stop, read_on)
    usage = found.counted.usage
    assert (usage.prompt_tokens, usage.completion_tokens, found.counted.source) == (prompt, completion, source)
    assert found.late == late


@given(
    st.sampled_from(Settlement),
    st.none() | st.integers(0, 1000),
    st.sampled_from([TOKENIZER, ESTIMATE, RUNNING]),
    st.none() | st.integers(0, 1000),
    st.integers(0, 5000),
    st.integers(0, 5000),
    st.none() | st.integers(0, 1000),
)
def test_no_count_is_out_of_bounds(
    policy: Settlement,
    tokens: int | None,
    source: UsageSource,
    total: int | None,
    behind: int,
    before: int,
    reasoning: int | None,
) -> None:
    """Whatever an upstream says, no count is negative, and produced and late together are what it made."""
    found = settle(policy, made(tokens, source), beyond(total, behind, before, reasoning=reasoning))
    completion = found.counted.usage.completion_tokens
    assert completion is None or completion >= 0
    assert found.late is None or found.late >= 0
    if completion is not None and found.late is not None:
        assert completion + (0 if policy is DRAINED else found.late) == found.in_all


def test_a_prompt_that_only_we_counted_is_called_ours() -> None:
    """An upstream that counts the answer alone does not vouch for our count of the prompt."""
    told = Beyond(Usage(None, 50), 40, 60, shows_reasoning=False, to_the_end=True)
    expected = Counted(Usage(10, 50), TOKENIZER, "o200k_base")
    assert settle(DRAINED, made(20), told).counted == expected
    assert complete(made(50), told) == expected
    nothing_behind = Beyond(Usage(None, 50), 40, 0, shows_reasoning=False, to_the_end=True)
    assert settle(PRODUCED, made(20), nothing_behind).counted == expected
    assert settle(DRAINED, made(None, NONE, None), told).counted == Counted(Usage(None, 50), UPSTREAM)


def test_an_answer_that_was_whole() -> None:
    """A stop that came too late changes no count; the upstream's own, if it was waited for, is the best one."""
    assert complete(made(20), None) == made(20)
    assert complete(made(20), beyond(None, 0)) == made(20)
    assert complete(made(20), beyond(18, 0)) == Counted(Usage(11, 18), UPSTREAM)


@pytest.mark.parametrize("policy", Settlement)
@pytest.mark.parametrize("stopped", [False, True])
def test_what_costs_nothing(policy: Settlement, stopped: bool) -> None:
    """Void is for what a stop ended; an answer that completed on such a route costs what it costs."""
    assert costs_nothing(policy, stopped=stopped) == (policy is VOID and stopped)


CLOSED = Settled(made(20), None, 20)
READ_ON = Settled(made(20), 30, 50)
UNKNOWN = Settled(made(None), None, None)


@pytest.mark.parametrize(
    ("settled", "bills", "sent", "ended", "max_tokens", "typical", "expected"),
    [
        (CLOSED, "no", True, False, 100, 60, Spared(None, 80, 40)),
        (CLOSED, "no", True, False, None, 60, Spared(None, None, 40)),
        (CLOSED, "no", True, False, 100, None, Spared(None, 80, None)),
        (CLOSED, "no", True, False, 10, 10, Spared(None, 0, 0)),
        (CLOSED, "unknown", True, False, 100, 60, Spared(None, 80, None)),
        (CLOSED, "yes", True, False, 100, 60, Spared(None, None, None)),
        (READ_ON, "no", True, False, 100, 60, Spared(30, 50, 10)),
        (READ_ON, "unknown", True, True, 100, 60, Spared(30, 0, 0)),
        (READ_ON, "yes", True, True, 100, 60, Spared(30, None, None)),
        (UNKNOWN, "no", True, False, 100, 60, Spared(None, None, None)),
        (UNKNOWN, "yes", False, False, 100, 60, Spared(None, 100, 60)),
        (UNKNOWN, "unknown", False, False, 100, 60, Spared(None, 100, 60)),
    ],
)
def test_what_a_stop_spared(
    settled: Settled,
    bills: Bills,
    sent: bool,
    ended: bool,
    max_tokens: int | None,
    typical: int | None,
    expected: Spared,
) -> None:
    """A bound is claimed where the upstream may have stopped, a number where it has; nothing where it bills on."""
    found = spared(settled, bills=bills, sent=sent, ended_by_itself=ended, max_tokens=max_tokens, typical=typical)
    assert found == expected
