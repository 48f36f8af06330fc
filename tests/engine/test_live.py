"""How many live: what is read on, what waits, and what should be closed by now."""

from types import SimpleNamespace
from typing import Any

import pytest

from proxy.core.lifecycle import Phase
from proxy.core.live_row import LiveCounts
from proxy.engine.live import LiveHere

NOW = 100.0
CONFIRM = 2.0


def a_relay(phase: Phase = Phase.STREAMING, *, read_on: bool = False, **facts: Any) -> Any:
    """As much of a relay as is counted."""
    known = {"phase": phase, "stopped_at": None, "closed_ms": None}
    return SimpleNamespace(generation=SimpleNamespace(**(known | facts)), read_on=object() if read_on else None)


def counts(*relays: Any) -> LiveCounts:
    """What is counted of these."""
    registry: Any = relays
    so_far: Any = SimpleNamespace(usage=None, about_cost=None)
    return LiveHere(registry, so_far, lambda: NOW).counts(CONFIRM)


@pytest.mark.parametrize(
    ("relay", "orphans"),
    [
        (a_relay(), 0),
        (a_relay(stopped_at=NOW - 1), 0),
        (a_relay(stopped_at=NOW - 3), 1),
        (a_relay(stopped_at=NOW - 3, closed_ms=1.0), 0),
        (a_relay(stopped_at=NOW - 3, read_on=True), 0),
    ],
)
def test_an_orphan_was_stopped_and_is_still_open(relay: Any, orphans: int) -> None:
    """What is not closed when every stop should be confirmed is an orphan, but for what is read on with intent."""
    assert counts(relay).orphans == orphans


def test_each_is_counted_once_and_by_what_it_does() -> None:
    """All that live are counted, and those among them that wait, or are read on."""
    assert counts(a_relay(), a_relay(Phase.QUEUED), a_relay(read_on=True)) == LiveCounts(3, 1, 1, 0)
