"""Money: what counting and recording cost beside relaying alone, and how long a report over a million records takes."""

import asyncio
import time
from statistics import median
from typing import Final

from bench import client
from bench.contestants import QUELL, QUELL_OFF, Contestant
from bench.scene import Bench, streams, until_all_began
from bench.scene_cpu import INTERVAL, MICRO, SETTLE, STREAMS
from bench.script import Script
from bench.table import Row, Target
from proxy.core.lifecycle import Outcome, Phase
from proxy.core.money import cost_of
from proxy.core.record import Record, UsageSource
from proxy.stores.ledger.sqlite import SqliteLedger
from proxy.stores.ledger.sqlite_open import open_ledger
from proxy.stores.ledger.usage import UsageQuery

SHARE: Final = Target(15, 5)
"""Per cent."""
REPORT: Final = Target(2.0, 1.0)
"""Seconds."""
AT_ONCE: Final = 5000
"""Records written before the next ones wait: fewer than the ledger lets wait."""


async def run(bench: Bench) -> None:
    """Two rows."""
    await _whole_lives(bench)
    await _report(bench)


async def _whole_lives(bench: Bench) -> None:
    """CPU of whole streams, from their START to their counted and written END, in turns with nothing of both."""
    events, rounds = bench.size(500, 500), bench.size(6, 1)
    with bench.arena.running(QUELL) as proxy, bench.arena.running(QUELL_OFF) as bare:
        ratios, used = [], []
        for number in range(rounds + 1):
            each = [await _lives(contestant, events) for contestant in (bare, proxy)]
            if number:
                ratios.append(each[1] / each[0])
                used.append(each)
    share = (median(ratios) - 1) * 100
    shown = " / ".join(f"{median(column) * MICRO / 1000:.1f}" for column in zip(*used, strict=True))
    figure = f"CPU of a stream's whole life ({events} events at 20 ms, {STREAMS} at once), relayed alone / counted too"
    cell = f"{shown} ms ({share:+.0f} %)"
    bench.table.rows.append(Row(figure, {QUELL: cell}, "+15 %", "+5 %", SHARE.met(share)))


async def _lives(proxy: Contestant, events: int) -> float:
    """CPU seconds a stream."""
    before = proxy.cpu()
    async with streams(proxy.port, STREAMS, Script(events=events, every=INTERVAL), over=10 * INTERVAL) as opened:
        await until_all_began(opened)
        async with asyncio.timeout(client.PATIENCE):
            for connection in opened:
                await connection.ended
        await asyncio.sleep(SETTLE)
        return (proxy.cpu() - before) / STREAMS


async def _report(bench: Bench) -> None:
    """Seconds of a report by model and by day, the slower one, each the best of three: the file is in the cache."""
    records = bench.size(1_000_000, 50_000)
    ledger = await open_ledger(
        f"sqlite:///{bench.arena.folder / 'report.db'}", text="none", keep=1e9, text_keep=1e9, now=0.0, replica="bench"
    )
    try:
        await _fill(ledger, records)
        seconds = 0.0
        for by in ("model", "day", "key"):
            times = []
            for _ in range(3):
                began = time.perf_counter()
                rows = await ledger.usage(UsageQuery((by,)))
                times.append(time.perf_counter() - began)
                if sum(row.generations for row in rows) != records:
                    raise RuntimeError(f"the report by {by} leaves records out")
            seconds = max(seconds, min(times))
    finally:
        await ledger.close()
    figure = f"usage report over {records:,} records, by model, day or key"
    bench.table.rows.append(Row(figure, {QUELL: f"{seconds:.2f} s"}, "2 s", "1 s", REPORT.met(seconds)))


async def _fill(ledger: SqliteLedger, records: int) -> None:
    for first in range(0, records, AT_ONCE):
        await asyncio.gather(*(ledger.end(_record(first + number)) for number in range(AT_ONCE)))


def _record(number: int) -> Record:
    """An ended record: 8 models, 50 keys, 90 days."""
    began = 1_760_000_000.0 + number % 90 * 86_400
    return Record(
        uid=f"u{number}",
        identity=f"key:k{number % 50}",
        key_id=f"k{number % 50}",
        task_id=f"t{number}",
        message_id=f"m{number}",
        dialect="openai",
        route="/v1",
        upstream="openai",
        started_at=began,
        ended_at=began + 2,
        replica="bench",
        model=f"model-{number % 8}",
        user=f"user-{number % 1000}",
        outcome=Outcome.COMPLETED,
        phase=Phase.FINISHED,
        prompt_tokens=500,
        completion_tokens=number % 700,
        usage_source=UsageSource.UPSTREAM,
        cost=cost_of(number * 1_000_003),
        currency="USD",
        price='{"input":"2.50","output":"10.00","version":"bench"}',
    )
