"""The torture of `make torture`, in short."""

import random
from pathlib import Path

from torture.kills import FLUSH, Torture

KILLS = 12
SLOW_MACHINE = 2.0
"""Seconds that a busy machine may add to a flush; `make torture` measures what it really takes."""


async def test_kills_lose_no_start_no_end_and_a_flush_at_most(tmp_path: Path) -> None:
    """P3, P4, P6, I1 to I4, I7: whenever it is killed, each record is there, ends once, and has what was sent."""
    async with Torture(tmp_path, streams=40, seed=random.randrange(1 << 30)) as torture:
        for _ in range(KILLS):
            await torture.round()
        await torture.finish()
    figures = torture.figures
    assert figures.faults == []
    assert figures.kills == KILLS
    assert figures.outcomes["interrupted"] > KILLS
    assert max(figures.ages) < FLUSH + SLOW_MACHINE
