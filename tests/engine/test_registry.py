"""Which id names which generation, while it lives and for a while after."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from proxy.core.errors import Refusal
from proxy.core.generation import Stop
from proxy.core.lifecycle import Cause, Outcome
from proxy.core.partial import Partial
from proxy.core.read_on import ReadOn
from proxy.engine import registry as module
from proxy.engine.registry import FINISHED_SECONDS, KEPT_TEXT, Registry
from proxy.engine.relaying.head import Ending
from proxy.engine.relaying.relay import Relay
from support.records import a_record


def a_relay(
    task_id: str,
    identity: str = "acme",
    *,
    message_id: str = "",
    linger: float = 20.0,
    started: float = 1000.0,
    tape: int = 0,
    ending: Ending = Ending.CLEAN,
    aliases: tuple[str, ...] = (),
) -> Relay:
    """What the registry looks at of a relay."""
    facts = SimpleNamespace(
        uid=f"uid-{task_id}-{identity}-{started}",
        started_wall=started,
        task_id=task_id,
        message_id=message_id or f"message-{task_id}",
        identity=SimpleNamespace(name=identity, shown=identity),
    )
    found = SimpleNamespace(
        generation=SimpleNamespace(facts=facts, partial=SimpleNamespace(upstream_id=None), outcome=Outcome.RUNNING),
        tape=SimpleNamespace(start=0, end=tape),
        readers=set(),
        wiped=False,
        read_on=None,
        ending=ending,
        rules=SimpleNamespace(route=SimpleNamespace(linger=linger)),
        plan=SimpleNamespace(aliases=aliases),
    )
    return cast("Relay", found)


def learned(registry: Registry, relay: Relay, upstream_id: str) -> None:
    """The upstream names its completion."""
    relay.generation.partial.upstream_id = upstream_id
    registry.add_alias(relay, upstream_id)


def release(registry: Registry, relay: Relay, now: float = 0.0, **more: Any) -> list[Any]:
    """The generation is settled; gives the records of those that were let go."""
    facts = relay.generation.facts
    record = a_record(
        facts.uid,
        identity=facts.identity.name,
        task_id=facts.task_id,
        message_id=facts.message_id,
        upstream_id=relay.generation.partial.upstream_id,
        started_at=facts.started_wall,
        **more,
    )
    return [finished.record.task_id for finished in registry.release(relay, record, now)]


def add(registry: Registry, relay: Relay) -> Relay:
    """Add a relay."""
    registry.add(relay)
    return relay


def test_one_that_is_only_read_on_gives_its_ids_up() -> None:
    """Its client is done with it: ids that a new generation has too are that one's, and it is its caller's no more."""
    registry = Registry()
    old = a_relay("t-1", aliases=("thread",))
    registry.add(old)
    old.read_on = ReadOn(Partial(), 1.0, 1)
    registry.let_go(old)
    assert registry.streams_of("acme") == 0
    assert not registry.is_live("acme", "thread")
    assert not registry.is_live(None, "t-1")
    assert registry.find("acme", "thread") is old
    new = a_relay("t-2", aliases=("thread",))
    registry.add(new)
    assert (registry.find("acme", "thread"), registry.is_ambiguous("acme", "thread")) == (new, False)
    release(registry, old)
    assert (registry.find("acme", "thread"), registry.streams_of("acme")) == (new, 1)


def test_a_generation_is_known_by_all_its_ids() -> None:
    """Task id, message id and upstream id name a live generation to its owner and to nobody else."""
    registry = Registry()
    one = add(registry, a_relay("t-1"))
    learned(registry, one, "up-1")
    for any_id in ("t-1", "message-t-1", "up-1"):
        assert registry.find("acme", any_id) is one
        assert registry.find("globex", any_id) is None
        assert registry.find_anybodys(any_id) is one
        assert registry.find_finished("acme", any_id) is None
    assert (len(registry), list(registry), registry.streams_of("acme")) == (1, [one], 1)


def test_an_id_is_in_use_while_its_generation_lives() -> None:
    """A chosen id is refused to its caller while it is in use, and free for others, and free again afterwards."""
    registry = Registry()
    one = add(registry, a_relay("t-1"))
    with pytest.raises(Refusal) as refused:
        registry.check_free("acme", "t-1")
    assert (refused.value.status, refused.value.code) == (400, "task_id_in_use")
    registry.check_free("globex", "t-1")
    release(registry, one)
    registry.check_free("acme", "t-1")


def test_an_ended_id_is_free_before_it_is_settled() -> None:
    """Once its generation has ended an id may be used again, though that one is still being settled, now or later."""
    registry = Registry()
    old = add(registry, a_relay("t-1", message_id="m-1"))
    old.generation.outcome = Outcome.COMPLETED
    registry.check_free("acme", "t-1")
    new = add(registry, a_relay("t-1", message_id="m-2", started=2000.0))
    assert (registry.find("acme", "t-1"), registry.find("acme", "m-1")) == (new, old)
    assert (len(registry), registry.streams_of("acme"), list(registry)) == (2, 2, [old, new])
    with pytest.raises(Refusal):
        registry.check_free("acme", "t-1")
    release(registry, new)
    assert registry.find("acme", "t-1") is None
    release(registry, old)
    found = registry.find_finished("acme", "t-1")
    assert found is not None
    assert found.record.message_id == "m-2"
    assert (len(registry), registry.streams_of("acme")) == (0, 0)


def test_a_task_id_goes_before_an_alias() -> None:
    """An upstream id that happens to be another generation's task id names the one with the task id."""
    registry = Registry()
    one, two, three = (add(registry, a_relay(task_id)) for task_id in ("t-1", "t-2", "t-3"))
    learned(registry, two, "t-1")
    learned(registry, three, "t-1")
    assert registry.find("acme", "t-1") is one
    assert not registry.is_ambiguous("acme", "t-1")
    assert registry.find_anybodys("t-1") is one
    release(registry, one)
    assert registry.is_ambiguous("acme", "t-1")
    release(registry, three)
    assert registry.find("acme", "t-1") is two


def test_an_alias_of_two_names_neither() -> None:
    """An upstream id of two live generations of a caller names none, and each other caller's is its own."""
    registry = Registry()
    zero = add(registry, a_relay("t-0"))
    learned(registry, zero, "same")
    release(registry, zero)
    assert registry.find_finished("acme", "same") is not None
    one, two = add(registry, a_relay("t-1")), add(registry, a_relay("t-2"))
    three = add(registry, a_relay("t-3", "globex"))
    for relay in (one, two, two, three):
        learned(registry, relay, "same")
    assert (registry.find("acme", "same"), registry.find_finished("acme", "same")) == (None, None)
    assert registry.is_ambiguous("acme", "same")
    assert registry.find("globex", "same") is three
    assert registry.find_anybodys("same") is None
    release(registry, one)
    assert (registry.find("acme", "same"), registry.is_ambiguous("acme", "same")) == (two, False)


def test_anybodys_id_must_be_one_generations() -> None:
    """For the operator an id that two callers use means neither; the message ids still do."""
    registry = Registry()
    one = add(registry, a_relay("t-1", message_id="m-1"))
    add(registry, a_relay("t-1", "globex", message_id="m-2"))
    assert registry.find_anybodys("t-1") is None
    assert registry.find_anybodys("m-1") is one
    assert registry.find_anybodys("t-2") is None


def test_nothing_stays_of_an_ended_generation() -> None:
    """Once it was let go, no index holds anything of a generation."""
    registry = Registry()
    for _ in range(2):
        one = add(registry, a_relay("t-1"))
        learned(registry, one, "up-1")
        assert release(registry, one, 0.0) == []
        assert (len(registry), registry.streams_of("acme")) == (0, 0)
        for any_id in ("t-1", "message-t-1", "up-1"):
            assert registry.find("acme", any_id) is registry.find_anybodys(any_id) is None
            assert registry.find_finished("acme", any_id) is not None
            assert registry.find_finished("globex", any_id) is None
            assert registry.find_anybodys_finished(any_id) is not None
        assert registry.expire(FINISHED_SECONDS - 0.1) == []
        (gone,) = registry.expire(FINISHED_SECONDS)
        assert gone.record.task_id == "t-1"
        assert registry.find_finished("acme", "t-1") is registry.find_anybodys_finished("t-1") is None
        for index in ("_live", "_named", "_aliases", "_streams", "_finished", "_finished_ids", "_kept_until"):
            assert not getattr(registry, index), index


def test_an_id_used_again_names_the_newest() -> None:
    """A finished id that was used again names the newest one, also for the operator; it outlives the older one."""
    registry = Registry()
    first = add(registry, a_relay("t-1", message_id="m-1"))
    release(registry, first, 0.0)
    other = add(registry, a_relay("t-1", "globex", message_id="m-2"))
    release(registry, other, 1.0)
    again = add(registry, a_relay("t-1", message_id="m-3", started=2000.0))
    release(registry, again, 2.0)
    for found in (registry.find_finished("acme", "t-1"), registry.find_anybodys_finished("t-1")):
        assert found is not None
        assert found.record.message_id == "m-3"
    assert len(registry.expire(FINISHED_SECONDS)) == 1
    assert registry.find_finished("acme", "m-1") is None
    assert registry.find_finished("acme", "t-1") is not None


def test_a_long_linger_delays_nobody_else() -> None:
    """How long an ended generation is kept is its own route's matter; others before and behind it go in their time."""
    registry = Registry()
    release(registry, add(registry, a_relay("slow", linger=3600.0)), 0.0)
    release(registry, add(registry, a_relay("t-1")), 0.0)
    assert [finished.record.task_id for finished in registry.expire(FINISHED_SECONDS)] == ["t-1"]
    assert registry.expire(3599.0) == []
    assert [finished.record.task_id for finished in registry.expire(3600.0)] == ["slow"]


def test_what_is_read_is_kept() -> None:
    """An ended generation that somebody still reads is kept until nobody does."""
    registry = Registry()
    one = add(registry, a_relay("t-1"))
    reader: Any = object()
    one.readers.add(reader)
    release(registry, one, 0.0)
    release(registry, add(registry, a_relay("t-2")), 0.0)
    assert [finished.record.task_id for finished in registry.expire(FINISHED_SECONDS)] == ["t-2"]
    one.readers.clear()
    assert registry.expire(FINISHED_SECONDS * 2 - 0.1) == []
    assert [finished.record.task_id for finished in registry.expire(FINISHED_SECONDS * 2)] == ["t-1"]


def test_ended_ones_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """When many end at once, those go early that have the least time left, but none that is being read."""
    monkeypatch.setattr(module, "FINISHED_MOST", 2)
    registry = Registry()
    relays = [add(registry, a_relay(f"t-{number}", linger=100.0 if number == 1 else 0.0)) for number in range(5)]
    reader: Any = object()
    relays[0].readers.add(reader)
    gone = [release(registry, relay, float(number)) for number, relay in enumerate(relays)]
    assert gone == [[], [], ["t-2"], ["t-3"], ["t-4"]]


def test_ended_ones_are_bounded_by_their_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """When tapes and short texts take too much memory, those go early that have the least time left."""
    monkeypatch.setattr(module, "FINISHED_BYTES", 2500)
    registry = Registry()
    gone = [
        release(registry, add(registry, a_relay(f"t-{number}", tape=500)), float(number), text="x" * 500)
        for number in range(4)
    ]
    assert gone == [[], [], ["t-0"], ["t-1"]]
    assert len(registry.expire(1000.0)) == 2
    assert release(registry, add(registry, a_relay("t-4", tape=2500)), 1000.0) == []


def test_a_long_tape_is_counted_as_what_it_has_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bytes of a tape that are in the spill file don't count."""
    monkeypatch.setattr(module, "FINISHED_BYTES", 100_000)
    registry = Registry()
    assert release(registry, add(registry, a_relay("t-1", tape=10**7)), 0.0) == []


@pytest.mark.parametrize(("length", "whole"), [(KEPT_TEXT, True), (KEPT_TEXT + 1, False)])
def test_long_texts_are_not_kept(length: int, whole: bool) -> None:
    """Of an ended generation a short text stays in memory; of a long one only that there was more."""
    registry = Registry()
    relay = add(registry, a_relay("t-1", ending=Ending.BROKEN))
    release(registry, relay, text="x" * length)
    found = registry.find_finished("acme", "t-1")
    assert found is not None
    assert (found.whole, found.record.text, found.record.text_clipped) == (
        whole,
        "x" * length if whole else None,
        not whole,
    )
    assert found.ending is Ending.BROKEN


def test_early_stops_go_through() -> None:
    """A stop that came early is given once to the generation with that id, and expires with the sweep."""
    registry = Registry()
    stop = Stop(Cause.CLIENT)
    registry.remember_stop("acme", "t-1", stop, 0.0)
    registry.remember_stop("acme", "t-2", stop, 0.0)
    assert registry.take_stop("acme", "t-1", 1.0) is stop
    assert registry.take_stop("acme", "t-1", 1.0) is None
    registry.expire(10.0)
    assert registry.take_stop("acme", "t-2", 1.0) is None


def test_dialect_ids_name_it_too() -> None:
    """The ids of a dialect name a generation while it lives and afterwards, to its owner alone."""
    registry = Registry()
    relay = add(registry, a_relay("t-1", aliases=("thrd_1",)))
    assert registry.find("acme", "thrd_1") is relay
    assert registry.find("other", "thrd_1") is None
    release(registry, relay)
    assert registry.find("acme", "thrd_1") is None
    finished = registry.find_finished("acme", "thrd_1")
    assert finished is not None
    assert finished.record.task_id == "t-1"
