"""Runs: their states, what a stop does to them, and what stays known of them."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from proxy.core.generation import Facts, Generation, Identity, Stop
from proxy.core.lifecycle import Cause, Outcome, RunState
from proxy.core.partial import Partial
from proxy.engine.canceller import Canceller
from proxy.engine.left_runs import leave
from proxy.engine.metrics import Metrics
from proxy.engine.registry import Registry
from proxy.engine.runs import REMEMBERED_SECONDS, WAITING_SECONDS, Run, Runs
from proxy.stores.ledger_null import NullLedger

ACME = Identity("key:acme", "acme")
GLOBEX = Identity("key:globex", "globex")
STOP = Stop(Cause.CLIENT, "acme", "enough")


def a_relay(task_id: str = "t-1", *, calls_tool: bool = False, started: float = 1.0) -> Any:
    """What a run sees of a relay."""
    facts = Facts(f"u-{task_id}", task_id, f"m-{task_id}", ACME, "any", "/", "up", None, None, {}, "r", 0.0, started)
    generation = Generation(facts, Partial())
    if calls_tool:
        generation.partial.add_tool_call(0, 0, ident="call_1", name="look_up")
    return SimpleNamespace(generation=generation, stop=lambda stop: generation.request_stop(stop, 5.0))


def begun(runs: Runs, relay: Any = None) -> Run:
    """A run at work on a generation."""
    run = runs.begin(ACME, "k", None, 1.0)
    assert run is not None
    run.take(a_relay() if relay is None else relay)
    return run


def waiting(runs: Runs) -> Run:
    """A run that waits for the results of tools."""
    relay = a_relay(calls_tool=True)
    run = begun(runs, relay)
    relay.generation.end(Outcome.COMPLETED, 2.0)
    assert not run.settled(3.0, waits=True)
    assert run.state is RunState.WAITING
    return run


def test_one_run_works_under_a_key() -> None:
    """While a run works, its key takes no other for the same caller; somebody else's key is another one."""
    runs = Runs()
    run = begun(runs)
    assert runs.begin(ACME, "k", None, 2.0) is None
    assert runs.begin(GLOBEX, "k", None, 2.0) is not None
    assert runs.find(ACME.name, "k") is run
    assert len(runs.find_anybodys("k")) == 2


def test_stop_reaches_the_generation() -> None:
    """A stop of a run stops its generation; the run is stopped when that is settled, and the second stop is none."""
    runs = Runs()
    relay = a_relay()
    run = begun(runs, relay)
    assert run.request_stop(STOP, 5.0)
    assert relay.generation.stop is STOP
    assert not run.request_stop(STOP, 6.0)
    relay.generation.end(Outcome.CANCELLED, 6.0)
    assert run.is_ending
    assert not run.settled(7.0, waits=False)
    assert (run.state, run.stop, run.stopped_at) == (RunState.STOPPED, STOP, 5.0)
    assert run.relay is None
    assert [(past.uid, past.outcome) for past in run.past] == [("u-t-1", Outcome.CANCELLED)]


def test_stop_before_the_generation() -> None:
    """A run that is stopped before its generation comes stops it as soon as it does."""
    runs = Runs()
    run = runs.begin(ACME, "k", None, 1.0)
    assert run is not None
    assert run.request_stop(STOP, 2.0)
    relay = a_relay()
    run.take(relay)
    assert relay.generation.stop is STOP


def test_stop_of_the_generation_is_one_of_the_run() -> None:
    """A generation that was stopped by itself, as by a client that left, leaves a stopped run that knows why."""
    runs = Runs()
    relay = a_relay()
    run = begun(runs, relay)
    left = Stop(Cause.DISCONNECT)
    relay.stop(left)
    relay.generation.end(Outcome.CLIENT_GONE, 6.0)
    assert not run.settled(7.0, waits=True)
    assert (run.state, run.stop, run.stopped_at) == (RunState.STOPPED, left, 5.0)


def test_stop_that_comes_too_late() -> None:
    """A complete generation is not stopped any more: the run ends as it would have."""
    runs = Runs()
    relay = a_relay()
    run = begun(runs, relay)
    relay.generation.end(Outcome.COMPLETED, 2.0)
    assert not run.request_stop(STOP, 3.0)
    assert not run.settled(4.0, waits=False)
    assert (run.state, run.stop) == (RunState.ENDED, None)


def test_stop_between_the_calls_of_tools_and_the_record() -> None:
    """A stop after the answer with calls of tools is complete, and before it is settled, stops the run."""
    runs = Runs()
    relay = a_relay(calls_tool=True)
    run = begun(runs, relay)
    relay.generation.end(Outcome.COMPLETED, 2.0)
    assert run.request_stop(STOP, 3.0)
    assert run.settled(4.0, waits=True)
    assert run.state is RunState.STOPPED
    assert runs.resume(ACME, "k", 5.0) is None


def test_stop_that_lost_against_the_calls_of_tools() -> None:
    """A stop of the generation that found it complete, with calls of tools, still stops the run."""
    runs = Runs()
    relay = a_relay(calls_tool=True)
    run = begun(runs, relay)
    relay.stop(STOP)
    relay.generation.end(Outcome.COMPLETED, 6.0)
    assert run.settled(7.0, waits=True)
    assert (run.state, run.stopped_at) == (RunState.STOPPED, 5.0)


def test_tool_rounds() -> None:
    """A waiting run is resumed once, by its owner only, and remembers each of its generations."""
    runs = Runs()
    run = waiting(runs)
    assert runs.resume(GLOBEX, "k", 4.0) is None
    assert runs.resume(ACME, "k", 4.0) is run
    assert runs.resume(ACME, "k", 4.0) is None
    second = a_relay("t-2")
    run.take(second)
    second.generation.end(Outcome.COMPLETED, 6.0)
    run.settled(7.0, waits=False)
    assert run.state is RunState.ENDED
    assert [past.task_id for past in run.past] == ["t-1", "t-2"]


def test_stop_while_it_waits() -> None:
    """A waiting run is stopped at once, and no results resume it."""
    runs = Runs()
    run = waiting(runs)
    assert run.request_stop(STOP, 4.0)
    assert (run.state, run.stopped_at) == (RunState.STOPPED, 4.0)
    assert runs.resume(ACME, "k", 5.0) is None


def test_which_runs_an_id_means() -> None:
    """A stop finds a run by its key, and a waiting one by the ids of its generation; others' only as the operator."""
    runs = Runs()
    run = waiting(runs)
    for any_id in ("k", "t-1", "m-t-1"):
        assert runs.named(ACME.name, any_id) == [run]
        assert runs.named(None, any_id) == [run]
        assert runs.named(GLOBEX.name, any_id) == []
    runs.resume(ACME, "k", 4.0)
    assert runs.named(ACME.name, "t-1") == []


def test_resumed_without_a_generation() -> None:
    """A resumed run whose request came to nothing waits again; with a stop meanwhile it is stopped."""
    runs = Runs()
    run = waiting(runs)
    runs.resume(ACME, "k", 4.0)
    run.undo(5.0)
    assert runs.resume(ACME, "k", 6.0) is run
    run.request_stop(STOP, 7.0)
    run.undo(8.0)
    assert run.state is RunState.STOPPED


def test_begun_without_a_generation() -> None:
    """A new run whose request came to nothing leaves the key to the one before it, with a stop that came meanwhile."""
    runs = Runs()
    before = waiting(runs)
    for stops in (False, True):
        run = runs.begin(ACME, "k", None, 4.0)
        assert run is not None
        assert runs.find(ACME.name, "k") is run
        if stops:
            run.request_stop(STOP, 5.0)
        runs.forget(run)
        assert runs.find(ACME.name, "k") is before
    assert before.state is RunState.STOPPED


def test_a_new_run_ends_the_one_that_waited() -> None:
    """A waiting run ends with the first generation of the run that takes its key."""
    runs = Runs()
    before = waiting(runs)
    run = runs.begin(ACME, "k", None, 4.0)
    assert run is not None
    assert not before.is_over
    run.take(a_relay("t-2", started=5.0))
    assert before.state is RunState.ENDED
    assert run.replaces is None


def test_waiting_too_long() -> None:
    """A run waits for ten minutes, and one that is over is known for another one."""
    runs = Runs()
    run = waiting(runs)
    assert runs.expire(3.0 + WAITING_SECONDS) == []
    assert runs.expire(4.0 + WAITING_SECONDS) == [run]
    assert run.state is RunState.ENDED
    assert runs.expire(4.0 + WAITING_SECONDS + REMEMBERED_SECONDS) == []
    assert list(runs) == [run]
    assert runs.expire(5.0 + WAITING_SECONDS + REMEMBERED_SECONDS) == []
    assert list(runs) == []


def test_failed_generation() -> None:
    """A generation that failed ends its run, also when it had called tools before."""
    runs = Runs()
    relay = a_relay(calls_tool=True)
    run = begun(runs, relay)
    relay.generation.end(Outcome.FAILED, 2.0, "truncated")
    assert not run.settled(3.0, waits=True)
    assert run.state is RunState.ENDED


@pytest.mark.parametrize("any_id", ["k", "t-1", "m-t-1"])
async def test_stop_by_any_id_before_the_calls_of_tools_are_on_disk(any_id: str) -> None:
    """A stop by the run's key or an id of its generation, complete and not settled yet, stops the run as well."""
    runs, registry = Runs(), Registry()
    relay = a_relay(calls_tool=True)
    run = begun(runs, relay)
    relay.settled = asyncio.get_running_loop().create_future()
    relay.plan = SimpleNamespace(run=run, aliases=("k",))
    registry.add(relay)
    relay.generation.end(Outcome.COMPLETED, 2.0)
    canceller = Canceller(registry, runs, NullLedger(), Metrics(), lambda: 3.0)
    await canceller.cancel(ACME, any_id, STOP, dialect="any", confirm=0.01)
    assert run.settled(4.0, waits=True)
    assert run.state is RunState.STOPPED


@pytest.mark.parametrize("identity", [ACME, None], ids=["owner", "operator"])
async def test_dialect_is_told_of_a_stop_while_it_waits(identity: Identity | None) -> None:
    """The dialect hears once, before the stop is answered, that its waiting run is over; others can't cause it."""
    runs = Runs()
    run = waiting(runs)
    told: list[RunState] = []

    async def on_left(run: Run) -> None:
        told.append(run.state)

    run.on_left = on_left
    canceller = Canceller(Registry(), runs, NullLedger(), Metrics(), lambda: 4.0)
    await canceller.cancel(GLOBEX, "k", STOP, dialect="any", confirm=1.0)
    assert told == []
    for _ in range(2):
        await canceller.cancel(identity, "k", STOP, dialect="any", confirm=1.0)
    assert told == [RunState.STOPPED]


async def test_dialect_that_fails_or_hangs() -> None:
    """What a dialect does when its run ends can neither fail a stop nor hold it up."""
    runs = Runs()
    run = waiting(runs)

    async def fails(_run: Run) -> None:
        raise ValueError("no store")

    async def hangs(_run: Run) -> None:
        await asyncio.get_running_loop().create_future()

    for on_left in (fails, hangs, None):
        run.on_left = on_left
        await leave(run, 0.01)
