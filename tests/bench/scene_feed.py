"""CPU of the proxy's process for somebody who looks at the live table, with many streams that run meanwhile.

The same streams are measured with and without a viewer, turn by turn: what differs is the viewer's.
"""

import asyncio
from statistics import median
from typing import Final
from urllib.parse import urlsplit

import yaml

from bench import client
from bench.contestants import QUELL, Contestant
from bench.scene import Bench, streams, until_all_began
from bench.script import Script
from bench.table import Row, Target

INTERVAL: Final = 1.0
"""Seconds between two events of a stream: each has a word more whenever the viewer is told of it."""
SETTLE: Final = 1.5
PERCENT: Final = 100.0
FEED: Final = "/api/feed"
ONE_VIEWER: Final = Target(1.0, 0.5)


async def run(bench: Bench) -> None:
    """Two figures: what one viewer costs, and what is left of it when nobody looks any more."""
    number, rounds = bench.size(1000, 200), bench.size(5, 2)
    seconds = 8.0 if not bench.quick else 3.0
    with bench.arena.running(QUELL) as proxy:
        script = Script(events=1_000_000, every=INTERVAL)
        async with streams(proxy.port, number, script, over=2 * INTERVAL) as opened:
            await until_all_began(opened)
            await asyncio.sleep(SETTLE)
            first = await _share(proxy, seconds)
            costs, rest = [], []
            for _ in range(rounds):
                alone = await _share(proxy, seconds)
                rest.append(alone - first)
                costs.append(await _viewed(proxy, seconds) - alone)
    figure = f"CPU for one viewer of the live table, {number:,} streams of an event a second"
    cost = median(costs)
    bench.table.rows.append(Row(figure, {QUELL: f"{cost:.2f} %"}, "1 % of a core", "0.5 %", ONE_VIEWER.met(cost)))
    bench.table.rows.append(Row("  the same, nobody looks (any more)", {QUELL: f"{median(rest):.2f} %"}))


async def _viewed(proxy: Contestant, seconds: float) -> float:
    """The share of a core while somebody looks."""
    settings = yaml.safe_load((proxy.log.parent / "quell.yaml").read_text())
    port = urlsplit(f"//{settings['admin']['listen']}").port or 0
    viewer = await client.connect(port)
    try:
        viewer.send(client.request(b"", FEED, "GET", {"Authorization": f"Bearer {settings['admin']['token']}"}))
        async with asyncio.timeout(client.PATIENCE):
            await viewer.began
        if viewer.status != 200:
            raise RuntimeError(f"the feed was answered with {viewer.status}")
        await asyncio.sleep(SETTLE)
        before = viewer.events
        share = await _share(proxy, seconds)
        if viewer.events - before < seconds:
            raise RuntimeError("the feed said less than once a second")
    finally:
        viewer.close()
        await asyncio.sleep(SETTLE)
    return share


async def _share(proxy: Contestant, seconds: float) -> float:
    """CPU time as a part of a core, in percent."""
    before, began = proxy.cpu(), asyncio.get_running_loop().time()
    await asyncio.sleep(seconds)
    return (proxy.cpu() - before) / (asyncio.get_running_loop().time() - began) * PERCENT
