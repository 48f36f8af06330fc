"""Memory of the proxy's process: per open stream, and for readers that never read. Kernel buffers are not in it.

A reader that never reads slows nginx and the plain hop down to its own pace, upstream included; Quell reads on, so that
the upstream is free again, and keeps what the reader may still want.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from bench import client, contestants, meters, reports
from bench.contestants import QUELL, Contestant
from bench.scene import Bench, streams, until_all_began
from bench.script import EVENT_BYTES, Script
from bench.table import Row, Target

KIB: Final = 1024
MIB: Final = 1024 * KIB
WARM: Final = 100
SMALL_BUFFER: Final = 4096
STALL_PATIENCE: Final = 60.0
HELD_UP: Final = 2.0
"""Seconds after which a proxy that waits for its readers is taken to hold its upstream up."""
OPEN: Final = Target(64, 40)
STALLED: Final = Target(256, 64)
ALL_STALLED: Final = Target(256, 64)


async def run(bench: Bench) -> None:
    """Rows for open streams, for long unread ones, and for a thousand unread ones."""
    names = [name for name in bench.arena.proxies() if name != contestants.QUELL_OFF]
    await _open_streams(bench, names)
    await _unread(bench)
    await _many_unread(bench)


async def _open_streams(bench: Bench, names: Iterable[str]) -> None:
    number = bench.size(4000, 1000)
    cells, cpu = {}, {}
    grown = 0.0
    for name in names:
        with bench.arena.running(name) as proxy:
            grown, used = await _per_stream(proxy, number, bench.size(3, 2))
        cells[name], cpu[name] = f"{grown / KIB:.0f} KiB", f"{used * 1e6:.0f} µs"
    figure = f"memory per open stream at {number:,} streams, one event a second"
    bench.table.rows.append(Row(figure, cells, "64 KiB", "40 KiB", OPEN.met(grown / KIB)))
    bench.table.rows.append(Row("  CPU per event meanwhile", cpu))


async def _per_stream(proxy: Contestant, number: int, seconds: int) -> tuple[float, float]:
    """Growth in bytes per stream, and CPU seconds per event; Quell comes last, so its value stays."""
    script = Script(events=1_000_000, every=1.0)
    async with streams(proxy.port, WARM, script, over=0.5) as opened:
        await until_all_began(opened)
    proxy.await_idle()
    before = meters.memory(proxy.pids())
    async with streams(proxy.port, number, script, over=number / 1000) as opened:
        await until_all_began(opened)
        await asyncio.sleep(1.0)
        used, events = proxy.cpu(), sum(connection.events for connection in opened)
        await asyncio.sleep(seconds)
        used, events = proxy.cpu() - used, sum(connection.events for connection in opened) - events
        return (meters.memory(proxy.pids()) - before) / number, used / max(events, 1)


async def _unread(bench: Bench) -> None:
    """Streams of two lengths that nobody reads: what is kept of each must not grow with its length."""
    number, lengths = 100, (1 * MIB, 6 * MIB if not bench.quick else 2 * MIB)
    cells: dict[str, str] = {}
    kept = 0.0
    for name in [name for name in bench.arena.proxies() if name != contestants.QUELL_OFF]:
        shown: list[str] = []
        for length in lengths:
            with bench.arena.running(name) as proxy:
                stalled = await _stalled(bench, proxy, number, length)
            kept = stalled.kept / number / KIB
            shown.append(f"{kept:.0f} KiB")
        cells[name] = " / ".join(shown) + ("" if stalled.ended else " (upstream held up)")
    sizes = " / ".join(str(length // MIB) for length in lengths)
    figure = f"memory per stream that is never read, {number} streams of {sizes} MiB"
    bench.table.rows.append(Row(figure, cells, "256 KiB", "64 KiB", STALLED.met(kept)))


async def _many_unread(bench: Bench) -> None:
    number, length = bench.size(1000, 200), MIB // 2
    with bench.arena.running(QUELL) as proxy:
        stalled = await _stalled(bench, proxy, number, length)
    shown = f"{stalled.peak / MIB:.0f} MiB" + ("" if stalled.ended else " (upstream held up)")
    figure = f"growth at its peak, {number:,} readers that never read, {number * length // MIB} MiB in all"
    met = ALL_STALLED.met(stalled.peak / MIB)
    bench.table.rows.append(Row(figure, {QUELL: shown}, "bounded", "64 MiB", met))


@dataclass(frozen=True, slots=True)
class Stalled:
    """What unread streams cost, in bytes: kept at the end, at the peak; and whether the upstream could end them all."""

    kept: int
    peak: int
    ended: bool


async def _stalled(bench: Bench, proxy: Contestant, number: int, length: int) -> Stalled:
    upstream, group = bench.arena.upstream, "unread"
    await client.fetch(proxy.port, client.PATH, "POST", Script(kind="json").body())
    proxy.await_idle()
    meters.forget_peak(proxy.pids())
    before = meters.resident(proxy.pids())
    script = Script(events=length // EVENT_BYTES)
    async with streams(
        proxy.port, number, script, group=group, receive_buffer=SMALL_BUFFER, over=number / 500, deaf=True
    ):
        patience = STALL_PATIENCE if proxy.name == QUELL else HELD_UP
        ended = await reports.settled(upstream, group, "done", number, patience)
        await asyncio.sleep(0.5)
        kept = meters.resident(proxy.pids()) - before
        peak = meters.resident_peak(proxy.pids()) - before
    await reports.report(upstream, group)
    return Stalled(kept, peak, ended)
