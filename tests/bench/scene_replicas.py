"""Three replicas on one bus: a stop that comes in at another one, a storm of stops, and lists over all.

All runs on one machine: three proxies, the bus, the upstream and the load share its cores, as replicas never do.
"""

import asyncio
import random
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from statistics import median
from typing import Final

from bench import client, reports
from bench.client import Connection
from bench.contestants import QUELL, Contestant, free_port
from bench.meters import percentile
from bench.scene import Bench, streams, until_all_began
from bench.scene_cpu import MICRO, STREAMS, paced
from bench.scene_stops import EVER, MILLI, delays, p99, shown
from bench.script import Script
from bench.table import Row, Target

REPLICAS: Final = 3
LIVE: Final = 500
STORM: Final = 1500
EVERY: Final = 1.0
"""Seconds between a live stream's tokens: what is measured is the stop."""
HANDS: Final = 48
"""So many connections stop at once in the storm."""
LISTS: Final = 50
SPACING: Final = 0.004
SETTLE: Final = 5.0
"""Seconds until a new directory is complete."""
ELSEWHERE: Final = Target(100, 15)
BUS_SHARE: Final = Target(5, 0)
"""Per cent."""
RATE: Final = Target(-1000, -3000)
"""Stops a second, less than nothing: more is better."""


async def run(bench: Bench) -> None:
    """A row for stops through another replica, lists, and the storm."""
    with _bus(bench) as url:
        if not url:
            bench.table.notes.append("replicas: not measured: neither valkey-server nor redis-server is here")
            return
        async with _replicas(bench, url) as proxies:
            await _unobserved(bench, proxies[0])
            await _elsewhere(bench, proxies)
            await _storm(bench, proxies)


@contextmanager
def _bus(bench: Bench) -> Iterator[str]:
    """A server's address; empty: there is none."""
    program = shutil.which("valkey-server") or shutil.which("redis-server")
    if program is None:
        yield ""
        return
    port = free_port()
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(bench.arena.folder)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.kill()
        process.wait()


@asynccontextmanager
async def _replicas(bench: Bench, url: str) -> AsyncIterator[list[Contestant]]:
    proxies: list[Contestant] = []
    try:
        for number in range(REPLICAS):
            bus = {"url": url, "secret": "the secret of a bench"}
            proxies.append(bench.arena.start(QUELL, more={"replica": f"replica-{number}", "bus": bus}))
        await asyncio.sleep(SETTLE)
        yield proxies
    finally:
        for proxy in proxies:
            proxy.end()


@asynccontextmanager
async def _live(proxies: list[Contestant], number: int, group: str) -> AsyncIterator[dict[str, int]]:
    """So many live streams over the replicas; gives each one's id and where it runs."""
    script = Script(events=EVER, every=EVERY)
    each = number // len(proxies)
    async with AsyncExitStack() as stack:
        where: dict[str, int] = {}
        for place, proxy in enumerate(proxies):
            own = f"{group}{place}"
            opened = await stack.enter_async_context(streams(proxy.port, each, script, group=own, over=each * SPACING))
            await until_all_began(opened)
            where |= {f"{own}-{index}": place for index in range(each)}
        yield where


async def _unobserved(bench: Bench, on_bus: Contestant) -> None:
    """CPU of an event on a bus where nobody looks on, in turns with one without a bus."""
    rounds, seconds = bench.size(6, 1), 2.0 if not bench.quick else 0.7
    with bench.arena.running(QUELL) as alone:
        used = [[await paced(each, seconds) for each in (alone, on_bus)] for _ in range(rounds + 1)][1:]
    share = (median(bus / none for none, bus in used) - 1) * 100
    shown = " / ".join(f"{median(column) * MICRO:.1f}" for column in zip(*used, strict=True))
    figure = f"CPU per event, {STREAMS} streams at 20 ms, without a bus / on one, nobody looking on"
    cell = f"{shown} µs ({share:+.0f} %)"
    bench.table.rows.append(Row(figure, {QUELL: cell}, "+5 %", "", BUS_SHARE.met(share)))


async def _elsewhere(bench: Bench, proxies: list[Contestant]) -> None:
    """Stops one after another, each through a replica that does not run it, and lists of what all run."""
    number = bench.size(200, 50)
    chance = random.Random(1)
    async with _live(proxies, LIVE, "other") as where:
        lists = await _lists(proxies)
        controls = [await client.connect(proxy.port, keep=True) for proxy in proxies]
        sent: dict[str, float] = {}
        for ident in chance.sample(sorted(where), number):
            through = (where[ident] + chance.choice((1, 2))) % len(proxies)
            sent[ident] = await _stop(controls[through], ident)
            await asyncio.sleep(SPACING)
        for control in controls:
            control.close()
        times = await _delays(bench, sent, "other")
    figure = f"stop through another replica to upstream closed, p50 / p99, {LIVE} live streams over {REPLICAS} replicas"
    met = ELSEWHERE.met(p99(times, number))
    bench.table.rows.append(Row(figure, {QUELL: shown(times, number)}, "100 ms", "15 ms", met))
    figure = f"a list of 100 of {LIVE} that live on {REPLICAS} replicas, p50 / p99"
    bench.table.rows.append(Row(figure, {QUELL: f"{_ms(lists, 0.5)} / {_ms(lists, 0.99)} ms"}))


async def _lists(proxies: list[Contestant]) -> list[float]:
    times: list[float] = []
    controls = [await client.connect(proxy.port, keep=True) for proxy in proxies]
    for index in range(LISTS):
        control = controls[index % len(controls)]
        began = time.monotonic()
        await control.ask(client.request(b"", "/v1/generations?limit=100", "GET"))
        times.append(time.monotonic() - began)
    for control in controls:
        control.close()
    return times


async def _storm(bench: Bench, proxies: list[Contestant]) -> None:
    """All of many live streams stopped at once, each through a replica by chance."""
    number = bench.size(STORM, 300)
    chance = random.Random(2)
    async with _live(proxies, number, "storm") as where, asyncio.TaskGroup() as group:
        waiting = sorted(where)
        chance.shuffle(waiting)
        sent: dict[str, float] = {}
        wrong: list[int] = []
        hands = [await client.connect(proxies[hand % REPLICAS].port, keep=True) for hand in range(HANDS)]
        began, cpu = time.monotonic(), -sum(proxy.cpu() for proxy in proxies)
        workers = [group.create_task(_work(hand, waiting, sent, wrong)) for hand in hands]
        await asyncio.wait(workers)
        seconds = time.monotonic() - began
        cpu += sum(proxy.cpu() for proxy in proxies)
        for hand in hands:
            hand.close()
        times = await _delays(bench, sent, "storm")
    lost = number - len(times)
    rate = number / seconds
    figure = f"storm: {number} live streams over {REPLICAS} replicas stopped through random ones: lost / not told so"
    met = Target(0, 0).met(lost + len(wrong))
    bench.table.rows.append(Row(figure, {QUELL: f"{lost} / {len(wrong)}"}, "0", "0", met))
    cell = f"{rate:.0f}/s; {shown(times, number)}"
    figure = "the same: stops a second; stop to upstream closed, p50 / p99"
    bench.table.rows.append(Row(figure, {QUELL: cell}, "1000/s", "", RATE.met(-rate)))
    figure = "the same: CPU of all replicas for one of them"
    bench.table.rows.append(Row(figure, {QUELL: f"{cpu / number * MILLI:.2f} ms"}))


async def _work(hand: Connection, waiting: list[str], sent: dict[str, float], wrong: list[int]) -> None:
    while waiting:
        ident = waiting.pop()
        sent[ident] = await _stop(hand, ident, wrong)


async def _stop(control: Connection, ident: str, wrong: list[int] | None = None) -> float:
    """Stop one, and wait for the answer; gives when it was sent."""
    sent = control.send(client.request(b"", f"/v1/generations/{ident}/cancel"))
    async with asyncio.timeout(client.PATIENCE):
        await control.ended
    if control.status != 200 or b'"result": "stopped"' not in control.body():
        if wrong is None:
            raise RuntimeError(f"a stop was answered with {control.status}: {control.body()[:200]!r}")
        wrong.append(control.status)
    return sent


async def _delays(bench: Bench, sent: dict[str, float], group: str) -> list[float]:
    """Seconds from each stop to its upstream's close."""
    times: list[float] = []
    for place in range(REPLICAS):
        own = {ident: moment for ident, moment in sent.items() if ident.startswith(f"{group}{place}-")}
        await reports.settled(bench.arena.upstream, f"{group}{place}", "closed", len(own))
        times += delays(await reports.report(bench.arena.upstream, f"{group}{place}"), own)
    return times


def _ms(times: list[float], part: float) -> str:
    return f"{percentile(times, part) * MILLI:.1f}"
