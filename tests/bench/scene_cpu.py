"""CPU of the proxy's process: per relayed event, and per short answer. The contestants take turns, round by round."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import ExitStack
from statistics import median
from typing import Final

from bench import client
from bench.client import Connection, connect
from bench.contestants import NGINX, QUELL, QUELL_OFF, Contestant
from bench.scene import Bench, streams, until_all_began
from bench.script import Script
from bench.table import Row, Target

STREAMS: Final = 200
INTERVAL: Final = 0.02
WARM_UP: Final = 0.4
SETTLE: Final = 0.4
"""Seconds after the last answer, so that what is written behind it is counted too."""
CONNECTIONS: Final = 32
MICRO: Final = 1e6

Round = Callable[[Contestant], Awaitable[float]]
TO_NGINX: Final = Target(2.5, 1.5)


async def run(bench: Bench) -> None:
    """Three figures, each with the ledger and without."""
    with ExitStack() as stack:
        proxies = [stack.enter_context(bench.arena.running(name)) for name in bench.arena.proxies()]
        rounds = bench.size(5, 1)
        seconds = 2.0 if not bench.quick else 0.7
        answers = bench.size(2000, 600)
        events = bench.size(250, 100)
        even = await _turns(proxies, rounds, lambda proxy: paced(proxy, seconds))
        _add(bench, f"CPU per event, {STREAMS} streams of 250-byte events at 20 ms", even, TO_NGINX)
        burst = await _turns(proxies, rounds, lambda proxy: _back_to_back(proxy, events))
        _add(bench, f"CPU per event, {STREAMS} streams of {events} events back to back", burst, TO_NGINX)
        short = await _turns(proxies, rounds, lambda proxy: _short(proxy, answers))
        _add(bench, f"CPU per short answer, {CONNECTIONS} connections kept alive", short, None)


async def _turns(proxies: Sequence[Contestant], rounds: int, one: Round) -> dict[str, list[float]]:
    """CPU seconds per unit, of each contestant in each round; one round before that does not count."""
    found: dict[str, list[float]] = {proxy.name: [] for proxy in proxies}
    for number in range(rounds + 1):
        for proxy in proxies:
            value = await one(proxy)
            if number:
                found[proxy.name].append(value)
    return found


async def paced(proxy: Contestant, seconds: float) -> float:
    """CPU seconds an event of streams that come at a pace."""
    script = Script(events=1_000_000, every=INTERVAL)
    async with streams(proxy.port, STREAMS, script, over=10 * INTERVAL) as opened:
        await until_all_began(opened)
        await asyncio.sleep(WARM_UP)
        before, events = proxy.cpu(), sum(connection.events for connection in opened)
        await asyncio.sleep(seconds)
        used, relayed = proxy.cpu() - before, sum(connection.events for connection in opened) - events
    await asyncio.sleep(SETTLE)
    if not relayed:
        raise RuntimeError(f"{proxy.name} relayed nothing")
    return used / relayed


async def _back_to_back(proxy: Contestant, events: int) -> float:
    script, before = Script(events=events), proxy.cpu()
    async with streams(proxy.port, STREAMS, script) as opened:
        async with asyncio.timeout(client.PATIENCE):
            for connection in opened:
                await connection.ended
        await asyncio.sleep(SETTLE)
        return (proxy.cpu() - before) / sum(connection.events for connection in opened)


async def _short(proxy: Contestant, answers: int) -> float:
    asked = client.request(Script(kind="json").body())
    each = answers // CONNECTIONS

    async def work(connection: Connection) -> None:
        for _ in range(each):
            await connection.ask(asked)
            if connection.status != 200:
                raise RuntimeError(f"{proxy.name} answered {connection.status}")

    opened = [await connect(proxy.port) for _ in range(CONNECTIONS)]
    try:
        before = proxy.cpu()
        await asyncio.gather(*(work(connection) for connection in opened))
        await asyncio.sleep(SETTLE)
        return (proxy.cpu() - before) / (each * CONNECTIONS)
    finally:
        for connection in opened:
            connection.close()


def _add(bench: Bench, figure: str, found: Mapping[str, list[float]], target: Target | None) -> None:
    cells = {name: _cell(name, found) for name in found}
    ratio = _ratio(QUELL, found)
    bench.table.rows.append(
        Row(
            figure,
            {name: cell for name, cell in cells.items() if name != QUELL_OFF},
            f"{target.at_least}x nginx" if target else "",
            f"{target.goal}x nginx" if target else "",
            target.met(ratio) if target and ratio else "",
        )
    )
    bench.table.rows.append(Row("  the same, ledger off", {QUELL: cells[QUELL_OFF]}))


def _ratio(name: str, found: Mapping[str, list[float]]) -> float:
    """The median of the rounds' ratios to nginx; 0 without nginx."""
    if NGINX not in found:
        return 0.0
    return median(one / base for one, base in zip(found[name], found[NGINX], strict=True))


def _cell(name: str, found: Mapping[str, list[float]]) -> str:
    text = f"{median(found[name]) * MICRO:.1f} µs"
    ratio = _ratio(name, found)
    return f"{text} ({ratio:.1f}x)" if ratio and name != NGINX else text
