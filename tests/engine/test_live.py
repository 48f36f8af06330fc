"""How many live: what is read on, what waits, and the calls that nobody wants any more."""

from types import SimpleNamespace
from typing import Any

from proxy.core.lifecycle import Phase
from proxy.core.live_row import LiveCounts
from proxy.engine.live import LiveHere
from proxy.engine.upstreams.open_calls import ORPHAN_SECONDS, OpenCalls

NOW = 100.0


def a_relay(phase: Phase = Phase.STREAMING, *, read_on: bool = False, ended: float | None = None) -> Any:
    """As much of a relay as is counted."""
    generation = SimpleNamespace(phase=phase, stopped_at=None, ended=ended)
    return SimpleNamespace(
        generation=generation, read_on=object() if read_on else None, upstream=SimpleNamespace(name="up")
    )


def counts(*relays: Any, calls_of: tuple[Any, ...] = ()) -> LiveCounts:
    """What is counted of these, while these have calls open."""
    registry: Any = relays
    so_far: Any = SimpleNamespace(tokens=None, about_cost=None)
    calls = OpenCalls(lambda: NOW)
    for relay in calls_of:
        calls.begin(relay)
    return LiveHere(registry, so_far, calls, lambda: NOW).counts()


def test_an_orphan_is_counted_although_its_generation_lives_no_more() -> None:
    """The number is that of the metric: calls still open some time behind their end, whatever lives or is believed."""
    over, just_over = a_relay(ended=NOW - ORPHAN_SECONDS - 1), a_relay(ended=NOW - 1)
    lives = a_relay()
    assert counts(lives, calls_of=(lives, over, just_over)) == LiveCounts(1, 0, 0, 1)


def test_each_is_counted_once_and_by_what_it_does() -> None:
    """All that live are counted, and those among them that wait, or are read on."""
    assert counts(a_relay(), a_relay(Phase.QUEUED), a_relay(read_on=True)) == LiveCounts(3, 1, 1, 0)
