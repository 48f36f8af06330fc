"""Power cuts: what was acknowledged was synced before, whatever part of the rest the disk kept."""

import random
from pathlib import Path

import pytest

from support.disk_trace import Cut, Made, Removed, Synced, Wrote, can_trace
from support.power_cut import SECTOR, Disk
from torture.power_cuts import cut_power


async def test_a_power_cut_loses_nothing_acknowledged(tmp_path: Path) -> None:
    """P5, S6: with any sectors of what was not synced gone, the ledger opens, and each told START and END is there."""
    if not can_trace():
        pytest.skip("needs strace, and the right to trace")
    cuts = await cut_power(tmp_path, states=40, lines=3000, seed=random.randrange(1 << 30))
    assert cuts.faults == []
    assert cuts.states == 40
    assert cuts.syncs > 50
    assert cuts.acknowledged > 1000


def test_the_disk_keeps_what_was_synced(tmp_path: Path) -> None:
    """The model itself: synced writes stay, others come in sectors or not at all, names with their folder's sync."""
    chance, seen = random.Random(1), set()
    for _ in range(300):
        disk = Disk({"a": b"old" + bytes(SECTOR * 2)})
        for event in (Wrote("a", 0, b"new"), Synced("a"), Wrote("a", 1, b"x" * SECTOR), Made("b"), Wrote("b", 0, b"b")):
            disk.do(event)
        for file in tmp_path.iterdir():
            file.unlink()
        disk.cut(tmp_path, chance)
        a = (tmp_path / "a").read_bytes()
        assert a[:1] == b"n"
        seen.add((a[1:2], a[SECTOR : SECTOR + 1], (tmp_path / "b").exists()))
        disk.do(Synced(""))
        disk.do(Cut("a", 1))
        disk.do(Synced("a"))
        disk.do(Removed("b"))
        disk.do(Synced(""))
        disk.cut(tmp_path, chance)
        assert (tmp_path / "a").read_bytes() == b"n"
    assert {(first, second) for first, second, _ in seen} == {
        (first, second) for first in (b"e", b"x") for second in (b"\0", b"x")
    }
    assert {there for *_, there in seen} == {True, False}
