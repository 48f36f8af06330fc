"""Readers of another replica's streams, and what may happen to owners, to the replica read through, and to the bus."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from proxy.core.letters import LookAt, Seal
from proxy.core.parcels import Kind, Parcels, Piece
from proxy.engine.replicas import lending
from proxy.engine.replicas.telling import Telling
from support import responses
from support.chat import DONE, chat_events, sse
from support.client import Answer, RawClient
from support.edge import refused, send
from support.program import Program, running_program
from support.proxy import RunningProxy
from support.redis_server import RedisServer, redis_server
from support.replicas import SECRET, bus_of, joined, known, replica_text
from support.scripts import SSE, events_then_hang, hang
from support.stops import call, record, start, stop
from support.upstream import Conn, Script, ScriptedUpstream, scripted_upstream
from support.wait import eventually, within

SAID = chat_events(8)[:-2]
"""A stream that is not over."""
PATH = "/v1/generations/t-1/events"
LEASE: dict[str, Any] = {"bus": {"lease": "4s"}}


class Ticking:
    """An upstream that sends numbered events for ever, until it is told to end."""

    def __init__(self, every: float = 0.01) -> None:
        self.every = every
        self.over = asyncio.Event()
        self.count = 0

    async def __call__(self, conn: Conn) -> None:
        """Answer an exchange."""
        await conn.head(200, SSE)
        while not self.over.is_set():
            self.count += 1
            await conn.chunk(sse(f'{{"choices":[{{"index":0,"delta":{{"content":"{self.count} "}}}}]}}'))
            await asyncio.sleep(self.every)
        await conn.chunk(sse('{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}') + DONE)
        await conn.end()


@asynccontextmanager
async def programs(
    folder: Path, script: Script, names: str = "ab", **config: Any
) -> AsyncIterator[tuple[list[Program], ScriptedUpstream, RedisServer]]:
    """Replicas as processes of their own."""
    async with AsyncExitStack() as stack:
        redis = await stack.enter_async_context(redis_server(folder))
        up = await stack.enter_async_context(scripted_upstream(script))
        started = []
        for name in names:
            own = folder / name
            own.mkdir()
            text = replica_text(up.base_url, redis.url, name, **LEASE | config)
            started.append(await stack.enter_async_context(running_program(text, own)))
        yield started, up, redis


async def get(program: Program | RunningProxy, path: str, *headers: tuple[str, str]) -> Answer:
    """One GET on a connection of its own."""
    async with RawClient(program.port) as client:
        await client.get(path, list(headers))
        return await client.answer()


async def until_known(program: Program, path: str = PATH.removesuffix("/events")) -> None:
    """Wait until a replica finds what another one runs."""

    async def is_known() -> bool:
        return (await get(program, path)).status == 200

    await eventually(is_known, what="the others know it")


async def test_the_owner_is_killed(tmp_path: Path) -> None:
    """A reader of a killed replica's stream is broken off within the lease, not before all that was sent has come."""
    async with programs(tmp_path, events_then_hang(SAID)) as ((a, b), _, _), RawClient(a.port) as client:
        await start(client, "t-1")
        await client.until(b"data:", len(SAID))
        await until_known(b)
        async with RawClient(b.port) as there:
            await there.get(PATH)
            await there.until(b"data:", len(SAID))
            a.kill()
            broken = await within(there.answer(), "the reader is broken off", 20.0)
        left = await get(b, PATH.removesuffix("/events"))
        events = await get(b, PATH)
    assert not broken.complete
    assert broken.body.count(b"data:") == len(SAID)
    assert (left.status, left.json()["outcome"]) == (200, "interrupted")
    assert refused(events) == (410, "events_gone")


async def test_the_replica_read_through_is_killed(tmp_path: Path) -> None:
    """Who read through a killed replica goes on at another one behind its last event, and misses nothing."""
    ticking = Ticking()
    async with programs(tmp_path, ticking, "abc") as ((a, b, c), _, _), RawClient(a.port) as client:
        await start(client, "t-1")
        await client.until(b"data:")
        await until_known(b)
        async with RawClient(b.port) as there:
            await there.get(PATH)
            await there.until(b"data:", 50)
            b.kill()
            first = (await there.answer()).events
        async with RawClient(c.port) as again:
            await again.get(PATH, [("Last-Event-ID", str(len(first)))])
            await again.until(b"data:", 50)
            ticking.over.set()
            rest = await again.answer()
        whole = await get(a, PATH)
    assert rest.complete
    assert b"".join(first) + rest.body == whole.body


async def test_the_replica_read_through_leaves_in_order(tmp_path: Path) -> None:
    """A replica that ends breaks off at once who reads through it, and the owner knows that they are gone."""
    async with programs(tmp_path, events_then_hang(SAID), drain={"timeout": "0s"}) as ((a, b), up, _):
        async with RawClient(b.port) as there:
            async with RawClient(a.port) as client:
                await start(client, "t-1")
                await client.until(b"data:", len(SAID))
                await until_known(b)
                await there.get(PATH)
                await there.until(b"data:", len(SAID))
            b.signal(signal.SIGTERM)
            got = await there.answer()
            await up.no_connections()
        assert await b.exit_code() == 0
    assert not got.complete


async def test_a_response_of_a_dead_replica(tmp_path: Path) -> None:
    """A response whose owner died is in that one's store: 503, as it may come back, and never 404."""
    async with programs(tmp_path, events_then_hang(SAID), route=responses.EMULATE) as ((a, b), _, _):
        async with RawClient(a.port) as client:
            response_id = await responses.begin(client)
            await until_known(b, f"/v1/responses/{response_id}")
            a.kill()

            async def is_lost() -> bool:
                answer = await get(b, f"/v1/responses/{response_id}")
                assert answer.status == 503
                return refused(answer)[1] == "owner_lost"

            await eventually(is_lost, 20.0, "its lease is over")


async def test_a_reader_elsewhere_left_with_its_replica(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader whose replica is not heard of any more has left, so the route's rule for left generations holds."""
    monkeypatch.setattr(lending, "GONE_SECONDS", 1.5)
    async with joined(hang(), tmp_path) as ((a, b), up, _), RawClient(b.port) as there:
        async with RawClient(a.port) as client:
            await start(client, "t-1")
            await up.conn()
            await known(b, "t-1")
            await there.get(PATH)
            await eventually(lambda: readers(a) == 2, what="the reader is there")
        await asyncio.sleep(1.6)
        assert (await record(a, "t-1"))["outcome"] == "running"
        monkeypatch.setattr(Telling, "tell", forgets)
        await within(up.no_connections(), "the generation is stopped")
        assert (await record(a, "t-1"))["outcome"] == "client_gone"


async def forgets(*_: object) -> None:
    """Tell nobody anything."""


def readers(proxy: RunningProxy) -> int:
    """How many read the live generations."""
    return sum(len(relay.readers) for relay in proxy.app.engine.registry)


async def test_the_last_reader_leaves(tmp_path: Path) -> None:
    """A reader elsewhere keeps a generation wanted whose starter left; when it leaves too, the upstream is closed."""
    async with joined(events_then_hang(SAID), tmp_path) as ((a, b), up, _):
        async with RawClient(b.port) as there:
            async with RawClient(a.port) as client:
                await start(client, "t-1")
                await client.until(b"data:", len(SAID))
                await known(b, "t-1")
                await there.get(PATH)
                await there.until(b"data:", len(SAID))
            await eventually(lambda: readers(a) == 1, what="the starter's end is seen")
            assert (await record(b, "t-1"))["outcome"] == "running"
        await up.no_connections()
        assert (await record(b, "t-1"))["outcome"] == "client_gone"


@pytest.mark.parametrize("how", ["restart", "flush", "pause"])
async def test_the_bus_forgets(tmp_path: Path, how: str) -> None:
    """A reading goes on behind a bus that was restarted, emptied, or stood still: no byte is missing or twice."""
    ticking = Ticking()
    async with joined(ticking, tmp_path) as ((a, b), _, redis), RawClient(a.port) as client:
        await start(client, "t-1")
        await client.until(b"data:")
        await known(b, "t-1")
        async with RawClient(b.port) as there:
            await there.get(PATH)
            await there.until(b"data:", 20)
            if how == "restart":
                await redis.restart()
            elif how == "flush":
                for _ in range(20):
                    redis.command("FLUSHALL")
                    await asyncio.sleep(0.01)
            else:
                redis.pause()
                await asyncio.sleep(4)
                redis.resume()
            seen = ticking.count
            await eventually(lambda: ticking.count > seen + 20)
            await within(there.until(b"data:", seen + 20), "it goes on", 20.0)
            ticking.over.set()
            got = await within(there.answer(), "it ends", 20.0)
        assert got.complete
        assert got.body == (await call(a, "GET", PATH)).body


async def test_an_owner_that_stands_still(tmp_path: Path) -> None:
    """A reader waits for an owner that stands still, and gets the rest when it goes on; new ones get 503 meanwhile."""
    ticking = Ticking(0.05)
    async with programs(tmp_path, ticking) as ((a, b), _, _), RawClient(a.port) as client:
        await start(client, "t-1")
        await client.until(b"data:")
        await until_known(b)
        async with RawClient(b.port) as there:
            await there.get(PATH)
            await there.until(b"data:", 5)
            a.signal(signal.SIGSTOP)
            try:
                await asyncio.sleep(3)
                asked = await get(b, PATH)
            finally:
                a.signal(signal.SIGCONT)
            ticking.over.set()
            got = await within(there.answer(), "it ends", 20.0)
        whole = await get(a, PATH)
    assert refused(asked) == (503, "bus_unavailable")
    assert got.complete
    assert got.body == whole.body


async def test_the_bus_is_away(tmp_path: Path) -> None:
    """What runs here is observed here without a bus; what may run elsewhere is 503, with Retry-After."""
    async with joined(events_then_hang(SAID), tmp_path) as ((a, b), _, redis), RawClient(a.port) as client:
        await start(client, "t-1")
        await client.until(b"data:", len(SAID))
        redis.kill()
        await eventually(lambda: not bus_of(b).is_up)
        for path in (PATH, PATH.removesuffix("/events")):
            answer = await get(b, path)
            assert refused(answer) == (503, "bus_unavailable")
            assert answer.header("Retry-After") == "1"
        async with RawClient(a.port) as here:
            await here.get(PATH)
            await here.until(b"data:", len(SAID))


@pytest.mark.parametrize("bound", ["MOST", "MOST_OF_GENERATION", "MOST_OF_IDENTITY"])
async def test_as_many_as_may(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bound: str) -> None:
    """The streams read through other replicas are bounded; one too many is told to come again, others go on."""
    monkeypatch.setattr(lending, bound, 1)
    async with joined(events_then_hang(SAID), tmp_path) as ((a, b), _, _), RawClient(a.port) as client:
        await start(client, "t-1")
        await client.until(b"data:", len(SAID))
        await known(b, "t-1")
        async with RawClient(b.port) as there:
            await there.get(PATH)
            await there.until(b"data:", len(SAID))
            answer = await get(b, PATH)
            assert refused(answer) == (429, "rate_limit_exceeded")
            assert answer.header("Retry-After") == "1"
        await eventually(lambda: readers(a) == 1, what="it is seen that the first one left")
        async with RawClient(b.port) as there:
            await there.get(PATH)
            await there.until(b"data:", len(SAID))


async def test_parcels_that_nobody_should_open(tmp_path: Path) -> None:
    """A parcel that is forged, for another replica or garbage changes no stream, and is counted."""
    async with joined(events_then_hang(SAID), tmp_path) as ((a, b), _, redis), RawClient(a.port) as client:
        await start(client, "t-1")
        await client.until(b"data:", len(SAID))
        await known(b, "t-1")
        async with RawClient(b.port) as there:
            await there.get(PATH)
            await there.until(b"data:", len(SAID))
            reading = next(iter(b.app.engine.observing._readings.values()))  # type: ignore[union-attr]
            lie = [Piece(reading.letter.number, reading.position, Kind.SAID, b"data: lie\n\n")]
            key = bus_of(b)._names.parcels("b")  # type: ignore[attr-defined]
            for parcel in (
                Parcels(b"another secret", "a").close("b", lie),
                Parcels(SECRET.encode(), "a").close("a", lie),
                b"garbage",
            ):
                redis.command("XADD", key, "*", "p", parcel)
            redis.command("XADD", key, "*", "other", "field")
            metric = b.app.engine.metrics.letters_refused
            await eventually(lambda: metric.labels("forged")._value.get() == 2)
            await eventually(lambda: metric.labels("misdirected")._value.get() == 1)
            await stop(b, "t-1")
            got = await there.answer()
        assert got.body == (await call(a, "GET", PATH)).body


async def test_looks_that_are_not_served(tmp_path: Path) -> None:
    """A letter can't have anything served but looks at its own identity's: no stop, no unknown route, no foreign id."""
    async with joined(hang(), tmp_path) as ((a, b), up, _), RawClient(a.port) as client:
        await start(client, "t-1")
        await up.conn()
        bus = bus_of(a)
        sealed = Seal(SECRET.encode(), "b")
        said: list[Any] = []
        elsewhere = b.app.engine.canceller.elsewhere
        assert elsewhere is not None
        for identity, route, rest in (
            ("anonymous", "/v1", "/generations/t-1/cancel"),
            ("somebody", "/v1", "/generations/t-1"),
            ("somebody", "/v1", "/generations/t-1/events"),
            ("anonymous", "/other", "/generations/t-1"),
            ("anonymous", "/v1", "/models"),
        ):
            letter = LookAt(
                to="a",
                by="b",
                at=bus.now(),
                identity=identity,
                shown="",
                route=route,
                rest=rest,
                query="",
                user_header=None,
            )
            with elsewhere._letters.expected(letter.number) as answer:
                await bus.send("a", sealed.close(letter))
                said.append(await within(answer, "an answer"))
        assert [each.status for each in said] == [404, 404, 404, 0, 0]
        assert (await record(a, "t-1"))["outcome"] == "running"
        assert (await send(b, "GET", "/v1/generations/t-1")).status == 200
