"""Runs: their states, what a stop does to them, and what stays known of them."""

import asyncio
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from proxy.core.generation import Facts, Generation, Identity, Stop
from proxy.core.lifecycle import Cause, Outcome, RunState
from proxy.core.partial import Partial
from proxy.engine.canceller import Canceller
from proxy.engine.registry import Registry
from proxy.engine.tasks import Tasks
from proxy.engine.telemetry.metrics import Metrics
from proxy.engine.translating.left_runs import LeftRuns
from proxy.engine.translating.run import WAITING_SECONDS, Run
from proxy.engine.translating.runs import REMEMBERED_SECONDS, Runs
from proxy.stores.ledger.null import NullLedger

ACME = Identity("key:acme", "acme")
GLOBEX = Identity("key:globex", "globex")
STOP = Stop(Cause.CLIENT, "acme", "enough")


def a_relay(task_id: str = "t-1", *, calls_tool: bool = False, started: float = 1.0) -> Any:
    """What a run sees of a relay."""
    facts = Facts(f"u-{task_id}", task_id, f"m-{task_id}", ACME, "any", "/", "up", None, None, {}, "r", 0.0, started)
    generation = Generation(facts, Partial())
    if calls_tool:
        generation.partial.add_tool_call(0, 0, ident="call_1", name="look_up")
    plan = SimpleNamespace(aliases=(f"a-{task_id}",))
    return SimpleNamespace(
        generation=generation,
        plan=plan,
        upstream=SimpleNamespace(name="up"),
        read_on=None,
        stop=lambda stop: generation.request_stop(stop, 5.0),
    )


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
    """A run is found by its key, and a waiting one behind the ids of its generation; others' only by the operator."""
    runs = Runs()
    run = waiting(runs)
    for find, ids in ((runs.keyed, ["k"]), (runs.behind, ["t-1", "m-t-1", "a-t-1"])):
        for any_id in ids:
            assert find(ACME.name, any_id) == find(None, any_id) == [run]
            assert find(GLOBEX.name, any_id) == []
    assert runs.keyed(ACME.name, "t-1") == runs.behind(ACME.name, "k") == []
    runs.resume(ACME, "k", 4.0)
    assert runs.behind(ACME.name, "t-1") == []


def test_id_of_a_newer_generation() -> None:
    """An id that a newer generation of the caller has names no run behind an older one any more."""
    runs = Runs()
    run = waiting(runs)
    runs.renamed(GLOBEX.name, ["t-1"])
    assert runs.behind(ACME.name, "t-1") == [run]
    runs.renamed(ACME.name, ["t-1"])
    assert runs.behind(ACME.name, "t-1") == runs.behind(None, "t-1") == []
    assert runs.behind(ACME.name, "m-t-1") == [run]


def test_resumed_without_a_generation() -> None:
    """A resumed run whose request came to nothing waits again; with a stop meanwhile it ends, which is to be told."""
    runs = Runs()
    run = waiting(runs)
    runs.resume(ACME, "k", 4.0)
    assert not run.undo(5.0)
    assert runs.resume(ACME, "k", 6.0) is run
    run.request_stop(STOP, 7.0)
    assert run.undo(8.0)
    assert run.state is RunState.STOPPED
    assert not run.undo(9.0)


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


def test_bound_of_one_caller() -> None:
    """Of a caller's runs that don't work those that are over go early, then those that waited first, which are told."""
    runs = Runs(most=100, most_of_one=2)
    other = runs.begin(GLOBEX, "other", None, 1.0)
    assert other is not None
    other.go(RunState.ENDED, 1.0)
    found: list[Run] = []
    for number, state in enumerate([RunState.WAITING, RunState.ENDED, RunState.WAITING, RunState.WAITING]):
        run = runs.begin(ACME, f"k-{number}", None, 1.0)
        assert run is not None
        run.go(state, 2.0 + number)
        found.append(run)
    assert list(runs) == [other, *found[2:]]
    assert found[0].state is RunState.ENDED
    assert runs.expire(6.0) == [found[0]]
    assert runs.expire(7.0) == []


def test_bound_of_all() -> None:
    """Of all runs that don't work those go early that have the least time left; one that works stays."""
    runs = Runs(most=3, most_of_one=3)
    live = begun(runs)
    for number in range(5):
        run = runs.begin(Identity(f"key:{number}", "x"), "k", None, 1.0)
        assert run is not None
        run.go(RunState.WAITING if number == 0 else RunState.ENDED, 2.0 + number)
    assert [run.identity.name for run in runs] == [live.identity.name, "key:0", "key:3", "key:4"]


def test_bound_of_what_runs_hold() -> None:
    """Beyond the bound, of one caller or of all, nothing more is held and no run is lost but those that are over."""
    runs = Runs(most_held=15, most_held_of_one=10)
    found: list[Run] = []
    for number, held in enumerate([3, 3, 4]):
        run = runs.begin(ACME, f"k-{number}", None, 1.0)
        assert run is not None
        assert runs.hold(run, held)
        found.append(run)
    old, first, second = found
    assert not runs.hold(first, 4)
    first.go(RunState.WAITING, 2.0)
    old.go(RunState.ENDED, 2.0)
    assert not runs.hold(first, 7)
    assert (first.held, list(runs)) == (3, found)
    assert runs.hold(first, 6)
    assert list(runs) == [first, second]
    other = runs.begin(GLOBEX, "k", None, 1.0)
    assert other is not None
    assert not runs.hold(other, 6)
    assert runs.hold(other, 5)
    assert runs.hold(first, 5)
    assert not runs.hold(other, 7)


def test_what_is_held_is_let_go_with_its_run() -> None:
    """A run that is replaced, comes back, is forgotten or is over for long leaves nothing held."""
    runs = Runs(most_held=10, most_held_of_one=10)
    before = waiting(runs)
    assert runs.hold(before, 6)
    run = runs.begin(ACME, "k", None, 4.0)
    assert run is not None
    assert runs.hold(run, 10)
    runs.forget(run)
    run = runs.begin(GLOBEX, "k", None, 4.0)
    assert run is not None
    assert not runs.hold(run, 5)
    before.go(RunState.ENDED, 5.0)
    runs.expire(6.0 + REMEMBERED_SECONDS)
    assert runs.hold(run, 10)
    runs.forget(run)
    assert (runs._held._all, runs._held._of, runs._held._runs) == (0, {}, set())


def test_many_runs_cost_nothing_that_is_not_due() -> None:
    """However many runs are known, a sweep and a look for an id touch those alone that are due or meant."""
    runs = Runs(most=20_000, most_of_one=20_000)
    for number in range(20_000):
        run = runs.begin(ACME, f"k-{number}", None, 0.0)
        assert run is not None
        run.go(RunState.WAITING if number % 2 else RunState.ENDED, 1.0)
    steps = 0

    def count(*_: object) -> None:
        nonlocal steps
        steps += 1

    sys.setprofile(count)
    try:
        found = [runs.expire(2.0), runs.behind(None, "nope"), runs.keyed(None, "nope"), runs.find_anybodys("nope")]
    finally:
        sys.setprofile(None)
    assert found == [[], [], [], []]
    assert steps < 100


def test_what_is_forgotten_leaves_nothing_behind() -> None:
    """Runs that are over for long, and rounds without end, leave no names and no entries."""
    runs = Runs()
    relay = a_relay(calls_tool=True)
    run = begun(runs, relay)
    relay.generation.end(Outcome.COMPLETED, 2.0)
    run.settled(3.0, waits=True)
    for number in range(10_000):
        runs.resume(ACME, "k", 4.0)
        run.go(RunState.WAITING, 4.0 + number / 1e6)
    assert len(runs._remembered._due) < 2_000
    run.go(RunState.ENDED, 5.0)
    assert runs.expire(6.0 + REMEMBERED_SECONDS) == []
    assert list(runs) == runs.behind(None, "t-1") == []
    assert not runs._past.everything()
    assert not runs._remembered._places


def test_a_bound_of_its_own() -> None:
    """A run whose dialect says until when it may wait ends then, and not before."""
    runs = Runs()
    run = begun(runs)
    run.waits_until = 10.0
    run.go(RunState.WAITING, 2.0)
    assert runs.expire(9.9) == []
    assert runs.expire(10.1) == [run]


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
    relay.settled = relay.released = asyncio.get_running_loop().create_future()
    relay.plan = SimpleNamespace(run=run, aliases=("k",))
    registry.add(relay)
    relay.generation.end(Outcome.COMPLETED, 2.0)
    canceller = Canceller(registry, runs, NullLedger(), Metrics(), lambda: 3.0, "a")
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
    canceller = Canceller(Registry(), runs, NullLedger(), Metrics(), lambda: 4.0, "a")
    await canceller.cancel(GLOBEX, "k", STOP, dialect="any", confirm=1.0)
    assert told == []
    for _ in range(2):
        await canceller.cancel(identity, "k", STOP, dialect="any", confirm=1.0)
    assert told == [RunState.STOPPED]


async def test_stopper_that_leaves() -> None:
    """What a dialect does when its waiting run is stopped goes on when the stopper leaves."""
    runs = Runs()
    run = waiting(runs)
    go, told = asyncio.Event(), 0

    async def on_left(_run: Run) -> None:
        nonlocal told
        await go.wait()
        told += 1

    run.on_left = on_left
    canceller = Canceller(Registry(), runs, NullLedger(), Metrics(), lambda: 4.0, "a")
    stopper = Tasks().start(canceller.cancel(ACME, "k", STOP, dialect="any", confirm=1.0), "stop")
    await asyncio.sleep(0)
    stopper.cancel()
    await asyncio.wait({stopper})
    assert (run.state, run.is_written) == (RunState.STOPPED, False)
    go.set()
    await canceller.left.finish()
    assert (told, run.is_written) == (1, True)


async def test_live_generation_is_stopped_before_any_dialect_is_asked() -> None:
    """A run's generation is stopped at once, although a dialect takes its time for another run of the same key."""
    runs = Runs()
    run = waiting(runs)
    never = asyncio.Event()

    async def on_left(_run: Run) -> None:
        await never.wait()

    run.on_left = on_left
    live, registry = a_relay("t-2"), Registry()
    live.plan = SimpleNamespace(run=None, aliases=("k",))
    live.settled = live.released = asyncio.get_running_loop().create_future()
    registry.add(live)
    canceller = Canceller(registry, runs, NullLedger(), Metrics(), lambda: 4.0, "a")
    stopper = Tasks().start(canceller.cancel(ACME, "k", STOP, dialect="any", confirm=10.0), "stop")
    await asyncio.sleep(0)
    assert live.generation.stop is STOP
    never.set()
    live.settled.set_result(None)
    await stopper


async def test_task_id_of_a_live_generation() -> None:
    """A stop by an id that a live generation has leaves the run alone that waits behind an older one with it."""
    runs, registry = Runs(), Registry()
    run = waiting(runs)
    live = a_relay("t-1", started=9.0)
    live.plan = SimpleNamespace(run=None, aliases=())
    live.settled = live.released = asyncio.get_running_loop().create_future()
    registry.add(live)
    canceller = Canceller(registry, runs, NullLedger(), Metrics(), lambda: 10.0, "a")
    for identity in (ACME, None):
        await canceller.cancel(identity, "t-1", STOP, dialect="any", confirm=0.01)
    assert live.generation.stop is STOP
    assert run.state is RunState.WAITING


async def test_dialect_that_fails_or_hangs() -> None:
    """What a dialect does when its run ends can neither fail a stop nor hold it up; what failed is done by a repeat."""
    run, left = waiting(Runs()), LeftRuns()
    never = asyncio.get_running_loop().create_future()

    async def fails(_run: Run) -> None:
        raise ValueError("no store")

    async def hangs(_run: Run) -> None:
        await never

    for on_left, written in ((fails, False), (None, True), (hangs, False)):
        run.on_left = on_left
        assert await left.told(run, 0.01) is written
    never.set_result(None)
    assert await left.told(run, 1.0)
