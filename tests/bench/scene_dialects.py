"""Translated dialects beside the pass-through: CPU per event, and how fast their own stops reach the upstream."""

import asyncio
from dataclasses import replace
from statistics import median
from typing import Final

from bench import client, reports
from bench.client import Connection
from bench.contestants import QUELL, Contestant
from bench.scene import Bench, until_all_began
from bench.scene_stops import BACKGROUND_EVERY, EVER, NEVER, SPACING, STOP, TOKENS_A_SECOND, delays, p99, shown
from bench.script import Script
from bench.speakers import PASSED, RUNS, TRANSLATING, Speaker, begin
from bench.table import Row, Target

STREAMS: Final = 100
INTERVAL: Final = 0.02
WARM_UP: Final = 0.4
SETTLE: Final = 0.4
MICRO: Final = 1e6
COST: Final = Target(2.0, 1.5)
"""Times the pass-through's CPU per event."""
ALL: Final = "/v1/generations/cancel"
MID_STREAM: Final = Script(events=EVER, every=1 / TOKENS_A_SECOND)
PHASES: Final = {"waiting for the header": Script(hold="head"), "mid-stream": MID_STREAM}
LIVE_RUNS: Final = 300
"""A third of them is stopped."""


async def run(bench: Bench) -> None:
    """For each dialect a row of its cost, and one of its stops in each phase; then stops among many live runs."""
    with bench.arena.running(QUELL) as proxy:
        for speaker in TRANSLATING:
            await _cost(bench, proxy, speaker)
        for speaker in TRANSLATING:
            for phase, script in PHASES.items():
                await _stops(bench, proxy, speaker, phase, script, number=bench.size(100, 30))
        live = bench.size(LIVE_RUNS, 60)
        phase = f"mid-stream, {live} live at {1 / BACKGROUND_EVERY:.0f} tokens/s"
        await _stops(
            bench, proxy, RUNS, phase, Script(events=EVER, every=BACKGROUND_EVERY), number=live // 3, live=live
        )


async def _cost(bench: Bench, proxy: Contestant, speaker: Speaker) -> None:
    rounds, seconds = bench.size(5, 1), 2.0 if not bench.quick else 0.7
    ratios, costs = [], []
    for number in range(rounds + 1):
        passed = await _paced(proxy, PASSED, seconds)
        translated = await _paced(proxy, speaker, seconds)
        if number:
            ratios.append(translated / passed)
            costs.append(translated)
    figure = f"CPU per event translated, {speaker.name}, beside the same passed through"
    cell = f"{median(costs) * MICRO:.1f} µs ({median(ratios):.1f}x)"
    met = COST.met(median(ratios))
    bench.table.rows.append(Row(figure, {QUELL: cell}, f"{COST.at_least}x", f"{COST.goal}x", met))


async def _paced(proxy: Contestant, speaker: Speaker, seconds: float) -> float:
    """CPU seconds per event at the client."""
    script = Script(events=EVER, every=INTERVAL)
    opened: list[Connection] = []
    try:
        for _ in range(STREAMS):
            opened.append(await begin(speaker, proxy.port, script))
            await asyncio.sleep(10 * INTERVAL / STREAMS)
        await until_all_began(opened)
        await asyncio.sleep(WARM_UP)
        before, events = proxy.cpu(), sum(connection.events for connection in opened)
        await asyncio.sleep(seconds)
        used, relayed = proxy.cpu() - before, sum(connection.events for connection in opened) - events
    finally:
        for connection in opened:
            connection.close()
    await client.fetch(proxy.port, ALL, "POST", b'{"all":true}')  # those that go on without a reader too
    await asyncio.sleep(SETTLE)
    if not relayed:
        raise RuntimeError("nothing was relayed")
    return used / relayed


async def _stops(
    bench: Bench, proxy: Contestant, speaker: Speaker, phase: str, script: Script, *, number: int, live: int = 0
) -> None:
    """Seconds from sending the dialect's own stop to the upstream's close; of so many streams, or `live` ones."""
    upstream = bench.arena.upstream
    group = f"{speaker.name}{phase}".translate(str.maketrans("", "", "_-,/ "))
    opened: dict[str, Connection] = {}
    sent: dict[str, float] = {}
    try:
        for index in range(live or number):
            asked = replace(script, ident=f"{group}-{index}")
            opened[asked.ident] = await begin(speaker, proxy.port, asked)
            await asyncio.sleep(SPACING / 2)
        if not await reports.settled(upstream, group, "arrived", live or number):
            raise RuntimeError(f"not all calls reached the upstream: {speaker.name}, {phase}")
        await asyncio.sleep(0.1)
        control = await client.connect(proxy.port, keep=True)
        for ident, connection in list(opened.items())[:number]:
            sent[ident] = control.send(speaker.stop(ident, connection))
            async with asyncio.timeout(client.PATIENCE):
                await control.ended
            if control.status != 200:
                raise RuntimeError(f"a stop was answered with {control.status}: {control.body()[:200]!r}")
            await asyncio.sleep(SPACING)
        control.close()
        await reports.settled(upstream, group, "closed", number, NEVER)
    finally:
        for connection in opened.values():
            connection.close()
    await client.fetch(proxy.port, ALL, "POST", b'{"all":true}')
    times = delays(await reports.report(upstream, group), sent)
    figure = f"stop by {speaker.name}'s own route to upstream closed, p50 / p99, {phase}"
    met = STOP.met(p99(times, number))
    bench.table.rows.append(Row(figure, {QUELL: shown(times, number)}, "50 ms", "5 ms", met))
