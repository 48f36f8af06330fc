"""Added time to the first byte at low load: one call at a time, the contestants and the bare upstream taking turns."""

import asyncio
from statistics import median
from typing import Final

from bench import client
from bench.client import Connection
from bench.contestants import DIRECT, QUELL, QUELL_OFF
from bench.scene import Bench
from bench.script import Script
from bench.table import Row, Target

MILLI: Final = 1e3
EVENTS: Final = Script(events=3, every=0.005)
PAUSE: Final = 0.005
"""Seconds between two calls: what is written behind an answer must not stand in the way of the next one."""
WITH_LEDGER: Final = Target(1.5, 0.7)
WITHOUT: Final = Target(0.5, 0.3)


async def run(bench: Bench) -> None:
    """Two rows: with the ledger and without."""
    calls = bench.size(300, 100)
    ports = {DIRECT: bench.arena.upstream.port}
    proxies = [bench.arena.start(name) for name in bench.arena.proxies()]
    try:
        ports |= {proxy.name: proxy.port for proxy in proxies}
        connections = {name: await client.connect(port) for name, port in ports.items()}
        taken: dict[str, list[float]] = {name: [] for name in ports}
        for number in range(calls + calls // 10):
            for name, connection in connections.items():
                seconds = await _first_event(connection)
                if number >= calls // 10:
                    taken[name].append(seconds)
        for connection in connections.values():
            connection.close()
    finally:
        for proxy in proxies:
            proxy.end()
    bare = median(taken.pop(DIRECT))
    added = {name: (median(values) - bare) * MILLI for name, values in taken.items()}
    _add(bench, added)


async def _first_event(connection: Connection) -> float:
    """Seconds from the request to its first event."""
    sent = connection.send(client.request(EVENTS.body()))
    async with asyncio.timeout(client.PATIENCE):
        await connection.ended
    await asyncio.sleep(PAUSE)
    return connection.first_event - sent


def _add(bench: Bench, added: dict[str, float]) -> None:
    without = added.pop(QUELL_OFF)
    cells = {name: f"{value:.2f} ms" for name, value in added.items()}
    figure = "added time to first byte at low load, p50"
    bench.table.rows.append(
        Row(figure, cells, _limit(WITH_LEDGER.at_least), _limit(WITH_LEDGER.goal), WITH_LEDGER.met(added[QUELL]))
    )
    cells = {QUELL: f"{without:.2f} ms"}
    bench.table.rows.append(
        Row("  the same, ledger off", cells, _limit(WITHOUT.at_least), _limit(WITHOUT.goal), WITHOUT.met(without))
    )


def _limit(value: float) -> str:
    return f"{value:g} ms"
