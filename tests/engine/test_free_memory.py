"""Tests of proxy.engine.free_memory: what a peak left behind goes back to the system."""

import os
from pathlib import Path

import pytest

from proxy.engine import free_memory


def resident() -> int:
    """Bytes of this process that are in memory now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(free_memory._trim is None, reason="this C library gives back by itself, or not at all")
def test_what_is_free_within_the_heap_is_given_back() -> None:
    """Memory that was let go below something that lives on is no longer resident afterwards."""
    peak = [bytes(20_000) for _ in range(4000)]
    last = bytes(20_000)
    held = resident()
    peak.clear()
    free_memory.give_back()
    assert resident() < held - 60_000_000
    assert len(last) == 20_000


def test_without_such_a_call_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the C library has no call for it, nothing is given back and nothing breaks."""
    monkeypatch.setattr(free_memory, "_trim", None)
    free_memory.give_back()
