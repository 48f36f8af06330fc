"""Tests of proxy.engine.free_memory: what a peak left behind goes back to the system."""

import os
from pathlib import Path

import pytest

from proxy.engine.free_memory import ENOUGH, LARGE, FreeMemory, _glibc_trim


def resident() -> int:
    """Bytes of this process that are in memory now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(_glibc_trim() is None, reason="this C library gives back by itself, or not at all")
def test_what_is_free_within_the_heap_is_given_back() -> None:
    """Memory that was let go below something that lives on is no longer resident afterwards."""
    memory = FreeMemory()
    peak = [bytes(20_000) for _ in range(4000)]
    last = bytes(20_000)
    held = resident()
    peak.clear()
    memory.let_go(80_000_000)
    memory.give_back()
    assert resident() < held - 60_000_000
    assert len(last) == 20_000


class Trim:
    """The C library's call, counted."""

    calls = 0

    def __call__(self, _pad: int) -> int:
        """Note it."""
        self.calls += 1
        return 1


def test_it_is_asked_for_only_when_much_was_let_go() -> None:
    """Short answers, however many, never cause a call; long ones do, once for what was let go since the last one."""
    trim = Trim()
    memory = FreeMemory(trim)
    for _ in range(1000):
        memory.let_go(LARGE - 1)
    assert memory.give_back() == 0
    assert trim.calls == 0
    for _ in range(ENOUGH // LARGE):
        memory.let_go(LARGE)
    memory.give_back()
    memory.give_back()
    assert trim.calls == 1


def test_without_such_a_call_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the C library has no call for it, nothing is given back and nothing breaks."""
    monkeypatch.setattr("proxy.engine.free_memory._glibc_trim", lambda: None)
    memory = FreeMemory()
    memory.let_go(ENOUGH)
    assert memory.give_back() == 0
