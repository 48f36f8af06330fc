"""Outages: PostgreSQL and the bus are away while callers go on, and what was told is held against the facts.

S10 to S17: no stream is cut or refused, no record is lost or told twice, no stop that was accepted is forgotten.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from support.bad_link import BadLink, bad_link
from support.postgres import Database, PostgresServer, postgres_server
from support.program import Program, running_program
from support.redis_server import RedisServer, redis_server
from support.replicas import replica_text
from support.upstream import ScriptedUpstream, scripted_upstream
from support.wait import eventually
from torture.load import Call, Load

CALM_SECONDS = 3.0
"""Before and behind an outage, under load."""
HONOURED_SECONDS = 30.0
"""Within which each accepted stop has had its effect once the bus is back."""
EVEN_SECONDS = 600.0
"""Within which PostgreSQL has been told all, once it is back."""


@dataclass(slots=True)
class Figures:
    """What came of one outage."""

    what: str
    seconds: float = 0.0
    calls: int = 0
    results: Counter[str] = field(default_factory=Counter)
    """What stops said while it lasted."""
    honoured_seconds: float = 0.0
    even_seconds: float = 0.0
    backlog: int = 0
    faults: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """The figures in words."""
        said = ", ".join(f"{number} {result}" for result, number in self.results.most_common())
        what = f"{self.what} for {self.seconds:.0f} s: {self.calls} calls; stops meanwhile: {said}"
        if self.backlog:
            what += f"; {self.backlog} records waited, all told {self.even_seconds:.1f} s after"
        else:
            what += f"; all of them done {self.honoured_seconds:.1f} s after"
        return [f"{what}; refused, cut, lost, doubled or wrong: {len(self.faults)}"]


@asynccontextmanager
async def _load(ports: Sequence[int], load: Load) -> AsyncIterator[None]:
    """Callers that go on; in the end each gets its answer, by a stop if need be."""
    running = asyncio.create_task(load.run(*ports))  # noqa: TID251 a task of a tool
    try:
        await asyncio.sleep(CALM_SECONDS)
        yield
        await asyncio.sleep(CALM_SECONDS)
        load.finish()
        await running
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def _hold_against_facts(load: Load, figures: Figures) -> None:
    """Whoever asked was answered, and was cut off only if somebody had asked for that."""
    figures.calls += len(load.calls)
    for call in load.calls.values():
        if not call.heard:
            figures.faults.append(f"{call.task_id}: refused, or not answered: {bytes(call.got[:60])!r}")
        elif not call.finished:
            figures.faults.append(f"{call.task_id}: cut off")
        elif call.finished and not call.all_sent and not call.was_asked_to_stop:
            figures.faults.append(f"{call.task_id}: ended by nobody")


# PostgreSQL


async def without_database(folder: Path, seconds: float, streams: int, seed: int) -> Figures:
    """Two replicas with one ledger, whose PostgreSQL is killed, and away for so long."""
    figures = Figures("PostgreSQL away", seconds)
    load = Load(streams, "d", random.Random(seed))
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(postgres_server())
        redis = await stack.enter_async_context(redis_server(folder))
        up = await stack.enter_async_context(scripted_upstream(load.script))
        database = server.create()
        programs = [
            await _replica(stack, folder, up, redis.url, name, ledger={"url": database.url, "text": "all"})
            for name in "ab"
        ]
        await eventually(lambda: _has_tables(database), 60.0, "the replicas have made their tables")
        async with _load([each.port for each in programs], load):
            await _be_without(server, seconds, load, figures)
        began = time.monotonic()
        await eventually(lambda: _told(database) >= len(load.calls), EVEN_SECONDS, "PostgreSQL has been told all")
        figures.even_seconds = time.monotonic() - began
        _compare(load, database, figures)
    _hold_against_facts(load, figures)
    return figures


async def _be_without(server: PostgresServer, seconds: float, load: Load, figures: Figures) -> None:
    before = len(load.calls)
    load.results.clear()
    await asyncio.to_thread(server.kill)
    await asyncio.sleep(seconds)
    figures.results += load.results
    figures.backlog = len(load.calls) - before
    await server.start()


def _has_tables(database: Database) -> bool:
    return database.sql("SELECT to_regclass('settled') IS NOT NULL") == [["t"]]


def _told(database: Database) -> int:
    return int(database.sql("SELECT count(*) FROM settled")[0][0])


def _compare(load: Load, database: Database, figures: Figures) -> None:
    rows = database.sql("SELECT task_id, outcome, coalesce(text, '') FROM generation")
    seen = Counter(row[0] for row in rows)
    figures.faults += [f"{task}: {number} records" for task, number in seen.items() if number != 1]
    figures.faults += [f"{task}: lost" for task in load.calls if task not in seen]
    if (more := _told(database)) != len(rows):
        figures.faults.append(f"{len(rows)} records, {more} of them settled")
    for task, outcome, text in rows:
        call = load.calls[task]
        if not _is_true(call, outcome, text):
            figures.faults.append(f"{task}: told {outcome}, {text[-40:]!r}; sent {call.sent[-40:]!r}")


def _is_true(call: Call, outcome: str, text: str) -> bool:
    """Whether a record says what happened: a whole answer, or what was sent before its stop."""
    if outcome == "completed":
        return text == call.sent
    return outcome == "cancelled" and call.was_asked_to_stop and call.sent.startswith(text)


# The bus


async def without_bus(folder: Path, seconds: float, streams: int, seed: int) -> list[Figures]:
    """Three replicas; one after the other the bus is restarted, emptied, stuck, silent to one of them, slow, cut."""
    figures = []
    async with AsyncExitStack() as stack:
        redis = await stack.enter_async_context(redis_server(folder))
        load = Load(streams, "none", random.Random(seed))
        up = await stack.enter_async_context(scripted_upstream(load.script))
        links = [await stack.enter_async_context(bad_link(redis.port)) for _ in "abc"]
        programs = [
            await _replica(stack, folder, up, f"redis://127.0.0.1:{link.port}/0", name)
            for link, name in zip(links, "abc", strict=True)
        ]
        for number, (what, act, heal) in enumerate(_faults(redis, links, seconds)):
            load = Load(streams, f"b{number}", random.Random(seed + number))
            figures.append(Figures(what, seconds))
            up.script = load.script
            await _one_fault(load, [each.port for each in programs], act, heal, figures[-1])
    return figures


def _faults(
    redis: RedisServer, links: list[BadLink], seconds: float
) -> list[tuple[str, Callable[[], Awaitable[None]], Callable[[], None]]]:
    """What is said of a fault, what begins it and waits, what ends it."""

    async def restarted() -> None:
        for _ in range(round(seconds / 5)):
            await redis.restart()
            await asyncio.sleep(5.0)

    async def emptied() -> None:
        for _ in range(round(seconds)):
            redis.command("FLUSHALL")
            await asyncio.sleep(1.0)

    async def stuck() -> None:
        redis.pause()
        await asyncio.sleep(seconds)

    async def silent() -> None:
        links[0].silent()
        await asyncio.sleep(seconds)

    async def slow() -> None:
        for link in links:
            link.slow(0.1)
        await asyncio.sleep(seconds)

    async def cut() -> None:
        await links[0].cut()
        await asyncio.sleep(seconds)

    def heal() -> None:
        for link in links:
            link.heal()

    return [
        ("bus killed and started every 5 s", restarted, heal),
        ("bus emptied every second", emptied, heal),
        ("bus silent to all", stuck, redis.resume),
        ("bus silent to one of three", silent, heal),
        ("bus with 100 ms each way", slow, heal),
        ("bus cut from one of three", cut, heal),
    ]


async def _one_fault(
    load: Load, ports: list[int], act: Callable[[], Awaitable[None]], heal: Callable[[], None], figures: Figures
) -> None:
    async with _load(ports, load):
        load.results.clear()
        await act()
        figures.results += load.results
        heal()
        began = time.monotonic()
        asked = [call for call in load.calls.values() if call.was_accepted]
        try:
            await eventually(lambda: all(call.finished for call in asked), HONOURED_SECONDS)
        except AssertionError:
            figures.faults += [f"{call.task_id}: its stop was accepted, and forgotten" for call in asked if call.lives]
        figures.honoured_seconds = time.monotonic() - began
    _hold_against_facts(load, figures)


async def _replica(
    stack: AsyncExitStack, folder: Path, up: ScriptedUpstream, bus: str, name: str, **config: object
) -> Program:
    own = folder / name
    own.mkdir()
    return await stack.enter_async_context(running_program(replica_text(up.base_url, bus, name, **config), own))
