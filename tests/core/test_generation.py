"""Tests of proxy.core.generation: the first stop and the first outcome win."""

import pytest

from proxy.core.generation import Facts, Generation, Identity, Stop, was_asked_for
from proxy.core.lifecycle import OUTCOME_OF, PHASE_AFTER, Cause, Outcome, Phase
from proxy.core.partial import Partial
from proxy.core.record import TextPolicy


def make(partial: Partial | None = None) -> Generation:
    """A generation that was just admitted."""
    facts = Facts(
        uid="u",
        task_id="t",
        message_id="m",
        identity=Identity("full-name", "shown"),
        dialect="openai",
        route="/v1",
        upstream="up",
        model="m1",
        user=None,
        tags={},
        replica="r",
        started_wall=1000.0,
        started=5.0,
    )
    return Generation(facts, partial or Partial())


def test_first_stop_wins() -> None:
    """A second stop changes nothing, whatever its cause."""
    generation = make()
    assert generation.request_stop(Stop(Cause.CLIENT, "a"), 6.0)
    assert not generation.request_stop(Stop(Cause.OPERATOR, "b"), 7.0)
    generation.end_stopped(8.0)
    record = generation.record(9.0)
    assert (record.cause, record.cancelled_by, record.elapsed_seconds) == (Cause.CLIENT, "a", 3.0)


def test_first_outcome_wins() -> None:
    """An outcome is written once; a later end and a later stop change nothing."""
    generation = make()
    assert generation.end(Outcome.COMPLETED, 6.0)
    assert not generation.end(Outcome.FAILED, 7.0, "reset")
    assert not generation.request_stop(Stop(Cause.CLIENT), 8.0)
    record = generation.record(9.0)
    assert (record.outcome, record.error_kind, record.ended_at) == (Outcome.COMPLETED, None, 1001.0)


@pytest.mark.parametrize("cause", list(Cause))
def test_cause_gives_the_outcome(cause: Cause) -> None:
    """Each cause of a stop ends with the outcome of the table, in the phase where the stop met it."""
    generation = make()
    generation.advance(Phase.CONNECTING)
    generation.advance(Phase.WAITING)
    generation.request_stop(Stop(cause), 6.0)
    generation.end_stopped(7.0)
    record = generation.record(7.0)
    assert (record.outcome, record.phase) == (OUTCOME_OF[cause], Phase.WAITING)
    assert was_asked_for(record) == (cause in (Cause.CLIENT, Cause.OPERATOR))


def test_complete_before_the_stop_stays_complete() -> None:
    """A stop that meets a finished answer leaves it completed, without a cause."""
    partial = Partial()
    partial.add_content(0, "all of it")
    partial.finish(0, "stop")
    generation = make(partial)
    generation.request_stop(Stop(Cause.CLIENT, "a"), 6.0)
    generation.end_stopped(6.5)
    record = generation.record(7.0)
    assert (record.outcome, record.cause, record.cancelled_by) == (Outcome.COMPLETED, None, None)


def test_it_runs_as_long_as_its_upstream_is_read_on() -> None:
    """The outcome of a stop is written at once, and shown when its upstream is over; a complete answer is complete."""
    generation = make()
    generation.request_stop(Stop(Cause.CLIENT, "a"), 6.0)
    generation.reads_on = generation.end_stopped(6.0)
    assert generation.was_stopped
    record = generation.record(9.0)
    assert (record.outcome, record.cause, record.ended_at) == (Outcome.RUNNING, Cause.CLIENT, None)
    assert (record.phase, record.elapsed_seconds, record.upstream_closed_ms) == (Phase.QUEUED, 1.0, None)
    generation.reads_on = False
    record = generation.record(9.0)
    assert (record.outcome, record.ended_at) == (Outcome.CANCELLED, 1001.0)
    partial = Partial()
    partial.finish(0, "stop")
    generation = make(partial)
    generation.request_stop(Stop(Cause.CLIENT, "a"), 6.0)
    generation.reads_on = generation.end_stopped(6.0)
    assert not generation.was_stopped
    assert generation.record(9.0).outcome is Outcome.COMPLETED


@pytest.mark.parametrize("phase", list(Phase))
def test_phases_go_forward_only(phase: Phase) -> None:
    """From each phase only those of the table are reached; every other step is ignored."""
    for target in Phase:
        generation = make()
        generation.phase = phase
        generation.advance(target)
        assert generation.phase is (target if target in PHASE_AFTER[phase] else phase)


def test_closing_is_timed_from_the_stop() -> None:
    """`upstream_closed_ms` counts from the stop to the first close, and is unknown without a stop."""
    generation = make()
    generation.upstream_closed(5.5)
    assert generation.closed_ms is None
    generation.request_stop(Stop(Cause.CLIENT), 6.0)
    generation.upstream_closed(6.002)
    generation.upstream_closed(9.0)
    assert generation.closed_ms == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("policy", "while_running", "when_stopped", "when_completed"),
    [("none", None, None, None), ("partial", "so far", "so far", None), ("all", "so far", "so far", "so far")],
)
def test_text_policy(
    policy: TextPolicy, while_running: str | None, when_stopped: str | None, when_completed: str | None
) -> None:
    """A record shows text as the policy allows, and counts its characters in any case."""
    texts = []
    for end in (None, Outcome.CANCELLED, Outcome.COMPLETED):
        partial = Partial()
        partial.add_content(0, "so far")
        generation = Generation(make().facts, partial, policy)
        if end is not None:
            generation.end(end, 6.0)
        record = generation.record(7.0)
        assert record.characters == 6
        texts.append(record.text)
    assert texts == [while_running, when_stopped, when_completed]
