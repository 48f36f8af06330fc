"""How fast a stop and a departed client reach the upstream, in every phase, and how much is produced after a stop.

A time runs from the moment the load generator sends the stop, or closes its connection, to the moment the upstream sees
its connection closed; both are read from the monotonic clock that all processes share. The phase `connecting` is left
out: on loopback it is over before anything can be sent. Only Quell has a stop by id.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from bench import client, reports
from bench.client import Connection
from bench.contestants import HOP, NGINX, QUELL, Contestant
from bench.meters import percentile
from bench.reports import Seen
from bench.scene import Bench, streams, until_all_began
from bench.script import Script
from bench.table import Row, Target

MILLI: Final = 1e3
TOKENS_A_SECOND: Final = 50
BACKGROUND: Final = 500
BACKGROUND_EVERY: Final = 0.1
SPACING: Final = 0.004
NEVER: Final = 5.0
"""Seconds after which a close is no longer waited for."""
STOP: Final = Target(50, 5)
LEFT: Final = Target(250, 5)


@dataclass(frozen=True, slots=True)
class Phase:
    """Where a call is when it is stopped or left."""

    name: str
    script: Script


EVER: Final = 1_000_000
PHASES: Final = (
    Phase("waiting for the header, streaming", Script(hold="head")),
    Phase("after the header, streaming", Script(hold="body")),
    Phase("mid-stream", Script(events=EVER, every=1 / TOKENS_A_SECOND)),
    Phase("waiting for the header, non-streaming", Script(kind="json", hold="head")),
    Phase("after the header, non-streaming", Script(kind="json", hold="body")),
    Phase("mid-answer, non-streaming", Script(kind="json", hold="middle")),
)


async def run(bench: Bench) -> None:
    """A row for each phase of a departed client and of a stop, then stops among many live streams."""
    number = bench.size(200, 50)
    left: dict[str, dict[str, str]] = {phase.name: {} for phase in PHASES}
    worst: dict[str, float] = {}
    for name in [NGINX, HOP] if bench.arena.nginx else [HOP]:
        with bench.arena.running(name) as proxy:
            for phase in PHASES:
                left[phase.name][name] = shown(await _leave(bench, proxy, phase, number), number)
    with bench.arena.running(QUELL) as quell:
        for phase in PHASES:
            times = await _leave(bench, quell, phase, number)
            left[phase.name][QUELL], worst[phase.name] = shown(times, number), p99(times, number)
        for phase in PHASES:
            cells, met = left[phase.name], LEFT.met(worst[phase.name])
            bench.table.rows.append(
                Row(f"client gone to upstream closed, p50 / p99, {phase.name}", cells, "250 ms", "5 ms", met)
            )
        for phase in PHASES:
            times, _ = await _stop(bench, quell, phase, number)
            met = STOP.met(p99(times, number))
            cells = {QUELL: shown(times, number)}
            bench.table.rows.append(
                Row(f"stop to upstream closed, p50 / p99, {phase.name}", cells, "50 ms", "5 ms", met)
            )
        await _among_many(bench, quell, number)


async def _among_many(bench: Bench, quell: Contestant, number: int) -> None:
    background = Script(events=EVER, every=BACKGROUND_EVERY)
    async with streams(quell.port, BACKGROUND, background, over=1.0) as opened:
        await until_all_began(opened)
        mid_stream = replace(PHASES[2], name="many")
        times, after = await _stop(bench, quell, mid_stream, number)
    cells = {QUELL: shown(times, number)}
    figure = f"stop to upstream closed, p50 / p99, with {BACKGROUND} live streams at 10 tokens/s"
    bench.table.rows.append(Row(figure, cells, "50 ms", "5 ms", STOP.met(p99(times, number))))
    figure = f"tokens made after the stop was sent, at {TOKENS_A_SECOND} tokens/s, p50 / most"
    typical, most = percentile([float(count) for count in after], 0.5), max(after)
    bench.table.rows.append(Row(figure, {QUELL: f"{typical:.0f} / {most}"}, "1", "0", Target(1, 0).met(most)))


async def _leave(bench: Bench, proxy: Contestant, phase: Phase, number: int) -> list[float]:
    """Seconds from leaving to the upstream's close, of so many calls; those never closed are missing."""
    upstream = bench.arena.upstream
    group = f"leave{_short(phase)}"
    async with streams(proxy.port, number, phase.script, group=group, over=number * SPACING / 2) as opened:
        await _in_phase(upstream, group, phase, opened)
        left: dict[str, float] = {}
        for index, connection in enumerate(opened):
            left[f"{group}-{index}"] = connection.close()
            await asyncio.sleep(SPACING)
        await reports.settled(upstream, group, "closed", number, NEVER)
    return delays(await reports.report(upstream, group), left)


async def _stop(bench: Bench, quell: Contestant, phase: Phase, number: int) -> tuple[list[float], list[int]]:
    """Seconds from sending the stop to the upstream's close, and the tokens written after it was sent."""
    upstream = bench.arena.upstream
    group = f"stop{_short(phase)}"
    control = await client.connect(quell.port, keep=True)
    async with streams(quell.port, number, phase.script, group=group, over=number * SPACING / 2) as opened:
        await _in_phase(upstream, group, phase, opened)
        sent: dict[str, float] = {}
        for index in range(number):
            ident = f"{group}-{index}"
            sent[ident] = control.send(client.request(b"", f"/v1/generations/{ident}/cancel"))
            async with asyncio.timeout(client.PATIENCE):
                await control.ended
            if control.status != 200:
                raise RuntimeError(f"a stop was answered with {control.status}: {control.body()[:200]!r}")
            await asyncio.sleep(SPACING)
        await reports.settled(upstream, group, "closed", number, NEVER)
    control.close()
    seen = await reports.report(upstream, group)
    return delays(seen, sent), [seen[ident].after(moment) for ident, moment in sent.items()]


async def _in_phase(upstream: Contestant, group: str, phase: Phase, opened: Sequence[Connection]) -> None:
    if not await reports.settled(upstream, group, "arrived", len(opened)):
        raise RuntimeError(f"not all calls reached the upstream: {phase.name}")
    if phase.script.kind == "stream" and not phase.script.hold:
        await until_all_began(list(opened))
    await asyncio.sleep(0.1)  # what the upstream wrote must also have gone through


def delays(seen: Mapping[str, Seen], since: Mapping[str, float]) -> list[float]:
    """Seconds from a moment to the upstream's close, of each call that was closed."""
    return [seen[ident].closed - moment for ident, moment in since.items() if seen[ident].closed]


def p99(times: Sequence[float], number: int) -> float:
    """In milliseconds; endless when too many were never closed."""
    endless = [float("inf")] * (number - len(times))
    return percentile([*times, *endless], 0.99) * MILLI


def shown(times: Sequence[float], number: int) -> str:
    """The cell: p50 and p99 of so many calls."""
    if len(times) < number:
        return f"{number - len(times)} of {number} not within {NEVER:.0f} s"
    return f"{percentile(list(times), 0.5) * MILLI:.1f} / {p99(times, number):.1f} ms"


def _short(phase: Phase) -> str:
    """A group's name for the phase: ids take letters and digits."""
    return "".join(letter for letter in phase.name if letter.isalnum())
