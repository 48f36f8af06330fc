"""CPU per event of each translated dialect, beside the same streams passed through: Quell against itself, in turns."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from statistics import median
from typing import Final

from bench import client
from bench.client import Connection
from bench.contestants import QUELL, TRANSLATED, Contestant
from bench.scene import Bench, until_all_began
from bench.script import Script
from bench.table import Row, Target

STREAMS: Final = 100
INTERVAL: Final = 0.02
WARM_UP: Final = 0.4
SETTLE: Final = 0.4
MICRO: Final = 1e6
COST: Final = Target(2.0, 1.5)
"""Times the pass-through's CPU per event."""

Open = Callable[[Contestant, Connection, Script], Awaitable[None]]


async def run(bench: Bench) -> None:
    """A row for each dialect."""
    rounds, seconds = bench.size(5, 1), 2.0 if not bench.quick else 0.7
    with bench.arena.running(QUELL) as proxy:
        for name in TRANSLATED:
            ratios, costs = [], []
            for number in range(rounds + 1):
                passed = await _paced(proxy, _passed, seconds)
                translated = await _paced(proxy, OPENS[name], seconds)
                if number:
                    ratios.append(translated / passed)
                    costs.append(translated)
            _add(bench, name, median(costs), median(ratios))


def _add(bench: Bench, name: str, cost: float, ratio: float) -> None:
    figure = f"CPU per event translated, {name}, beside the same passed through"
    cell = f"{cost * MICRO:.1f} µs ({ratio:.1f}x)"
    bench.table.rows.append(Row(figure, {QUELL: cell}, f"{COST.at_least}x", f"{COST.goal}x", COST.met(ratio)))


async def _paced(proxy: Contestant, begin: Open, seconds: float) -> float:
    """CPU seconds per event at the client."""
    script = Script(events=1_000_000, every=INTERVAL)
    opened = [await client.connect(proxy.port) for _ in range(STREAMS)]
    try:
        for connection in opened:
            await begin(proxy, connection, script)
            await asyncio.sleep(10 * INTERVAL / STREAMS)
        await until_all_began(opened)
        await asyncio.sleep(WARM_UP)
        before, events = proxy.cpu(), sum(connection.events for connection in opened)
        await asyncio.sleep(seconds)
        used, relayed = proxy.cpu() - before, sum(connection.events for connection in opened) - events
    finally:
        for connection in opened:
            connection.close()
    await asyncio.sleep(SETTLE)
    if not relayed:
        raise RuntimeError("nothing was relayed")
    return used / relayed


async def _passed(_proxy: Contestant, connection: Connection, script: Script) -> None:
    connection.send(client.request(script.body()))


async def _dify(_proxy: Contestant, connection: Connection, script: Script) -> None:
    body = {"inputs": {}, "query": script.words(), "user": "bench", "response_mode": "streaming"}
    connection.send(client.request(json.dumps(body).encode(), "/dify/completion-messages"))


async def _aitronos(_proxy: Contestant, connection: Connection, script: Script) -> None:
    body = {"inputs": [{"role": "user", "content": script.words()}], "stream": True}
    connection.send(client.request(json.dumps(body).encode(), "/aitronos/model/response"))


async def _async_messages(proxy: Contestant, connection: Connection, script: Script) -> None:
    body = {"model": "default", "messages": [{"role": "user", "content": script.words()}]}
    path = "/async_messages/messages/async"
    told = await client.fetch(proxy.port, path, "POST", json.dumps(body).encode())
    connection.send(client.request(b"", f"{path}/{json.loads(told)['message_id']}/stream", "GET"))


OPENS: Final[dict[str, Open]] = {"dify": _dify, "async_messages": _async_messages, "aitronos": _aitronos}
