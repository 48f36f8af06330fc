"""What the scripted upstream saw of its calls, asked over its own port."""

import asyncio
import json
from dataclasses import dataclass
from typing import Any

from bench import client
from bench.contestants import Contestant


async def state(upstream: Contestant, group: str) -> dict[str, int]:
    """How many calls of a group the upstream has in which state: arrived, closed, done."""
    counts: dict[str, int] = json.loads(await client.fetch(upstream.port, f"/bench/state?{group}"))
    return counts


async def settled(upstream: Contestant, group: str, wanted: str, number: int, patience: float = 10.0) -> bool:
    """Wait until so many calls of a group are in a state; False when that does not happen in time."""
    try:
        async with asyncio.timeout(patience):
            while (await state(upstream, group)).get(wanted, 0) < number:  # noqa: ASYNC110 it is another process
                await asyncio.sleep(0.02)
    except TimeoutError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class Seen:
    """What the upstream saw of one call: its state, when its close was seen, the events written and when."""

    state: str
    closed: float
    events: int
    times: list[float]

    def after(self, moment: float) -> int:
        """How many events were written after a moment."""
        return sum(written > moment for written in self.times)


async def report(upstream: Contestant, group: str) -> dict[str, Seen]:
    """What the upstream saw of a group's calls, by id; it forgets them."""
    calls: dict[str, Any] = json.loads(await client.fetch(upstream.port, f"/bench/report?{group}"))
    return {ident: Seen(*fields) for ident, fields in calls.items()}
