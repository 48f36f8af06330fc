"""What must not get lost: bytes on their way to slow readers, and records when the process is killed."""

import asyncio
import json
import random
from typing import Any, Final

from bench import client, script
from bench.contestants import HOP, NGINX, QUELL, Contestant
from bench.scene import Bench, streams, until_all_began
from bench.script import Script
from bench.table import Row, Target

AT_ONCE: Final = 40
SLOW_SHARE: Final = 0.2
EVERY: Final = 0.05
FLUSH: Final = 0.25
"""Seconds between two flushes, as configured by default."""
KILLED_STREAMS: Final = 200


async def run(bench: Bench) -> None:
    """Two rows of bytes and two of a killed process."""
    await _bytes(bench)
    await _killed(bench)


async def _bytes(bench: Bench) -> None:
    number = bench.size(1000, 200)
    cells: dict[str, str] = {}
    equal = 0
    for name in [NGINX, HOP, QUELL] if bench.arena.nginx else [HOP, QUELL]:
        with bench.arena.running(name) as proxy:
            equal = await _equal(proxy, number)
        cells[name] = f"{equal:,}"
    figure = f"bytes equal, of {number:,} random streams cut at random places, every fifth reader slow"
    bench.table.rows.append(Row(figure, cells, "all", "all", "goal" if equal == number else "no"))


async def _equal(proxy: Contestant, number: int) -> int:
    """How many streams came through byte for byte; some at once, each on a connection of its own."""
    seeds = iter(range(number))
    found = 0

    async def work() -> None:
        nonlocal found
        for seed in seeds:
            same = await _same(proxy, seed)
            found += same

    await asyncio.gather(*(work() for _ in range(AT_ONCE)))
    return found


async def _same(proxy: Contestant, seed: int) -> bool:
    source = random.Random(seed + 2)
    slow = source.random() < SLOW_SHARE
    connection = await client.connect(proxy.port, keep=True, receive_buffer=4096 if slow else 0)
    try:
        connection.send(client.request(Script(kind="random", seed=seed, pause=0.0002).body()))
        while slow and not connection.ended.done():
            connection.transport.pause_reading()
            await asyncio.sleep(source.uniform(0, 0.01))
            connection.transport.resume_reading()
            await asyncio.sleep(0.0005)
        async with asyncio.timeout(client.PATIENCE):
            await connection.ended
        return connection.body() == script.random_stream(seed)
    except (ConnectionError, TimeoutError):
        return False
    finally:
        connection.close()


async def _killed(bench: Bench) -> None:
    """Kill the proxy amid streams, start it again on the same ledger, and ask it what it knows."""
    quell = bench.arena.start(QUELL)
    group = "killed"
    asked = Script(events=1_000_000, every=EVERY)
    async with streams(quell.port, KILLED_STREAMS, asked, group=group, over=0.5) as opened:
        await until_all_began(opened)
        await asyncio.sleep(2.0 if bench.quick else 4.0)
        quell.kill()
        await asyncio.sleep(0.2)  # what is still in the sockets was relayed, too
        got = [connection.events for connection in opened]
    again = bench.arena.start(QUELL, quell.log.parent)
    records = [await _record(again, f"{group}-{index}") for index in range(len(got))]
    again.end()
    lost_starts = sum(record is None for record in records)
    lost = [_lost_events(record, events) for record, events in zip(records, got, strict=True) if record is not None]
    most = max(lost, default=0) * EVERY
    figure = f"kill -9 with {KILLED_STREAMS} live streams: starts lost"
    bench.table.rows.append(Row(figure, {QUELL: str(lost_starts)}, "0", "0", Target(0, 0).met(lost_starts)))
    figure = "kill -9: the most text lost of a stream, in time (a flush is 250 ms)"
    met = Target(FLUSH + 2 * EVERY, FLUSH + 2 * EVERY).met(most)
    bench.table.rows.append(Row(figure, {QUELL: f"{most * 1000:.0f} ms"}, "one flush", "one flush", met))


async def _record(quell: Contestant, task_id: str) -> dict[str, Any] | None:
    """The record of a generation; None when there is none."""
    answer: dict[str, Any] = json.loads(await client.fetch(quell.port, f"/v1/generations/{task_id}"))
    return answer if answer.get("task_id") == task_id else None


def _lost_events(record: dict[str, Any], got: int) -> int:
    """How many events a client got whose text the record does not have; all of them when it has a wrong text."""
    text = record["text"] or ""
    full = script.text_of(got + 1)
    if not full.startswith(text):
        return got
    kept = 0
    while len(script.text_of(kept)) < len(text):
        kept += 1
    return max(got - kept, 0)
