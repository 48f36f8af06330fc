"""Observing through any replica: what another one runs, live, from any event on, byte for byte as there."""

import asyncio
import random
from pathlib import Path

import pytest

from support.chat import DONE, chat_events, sse
from support.client import RawClient
from support.edge import refused
from support.lag import shrink_send_buffers
from support.program import ADMIN_TOKEN
from support.proxy import RunningProxy
from support.replicas import identity_of, joined, known
from support.scripts import SSE, events_then_hang, json_answer, sse_stream
from support.stops import PLAIN, Ask, call, record, settled, start, stop
from support.upstream import Conn

SAID = chat_events(8)[:-2]
"""A stream that is not over."""
EVENTS = chat_events(8, usage=True)
PATH = "/v1/generations/t-1/events"
ADMIN = ("Authorization", f"Bearer {ADMIN_TOKEN}")


class Steps:
    """An upstream that sends an event each time it is told to, and ends behind the last one."""

    def __init__(self, events: list[bytes]) -> None:
        self.events = events
        self.go = asyncio.Semaphore(0)

    async def __call__(self, conn: Conn) -> None:
        """Answer an exchange."""
        await conn.head(200, SSE)
        for event in self.events:
            await self.go.acquire()
            await conn.chunk(event)
        await conn.end()


def readers(proxy: RunningProxy) -> int:
    """How many read the live generations."""
    return sum(len(relay.readers) for relay in proxy.app.engine.registry)


async def test_live_event_by_event(tmp_path: Path) -> None:
    """Each event reaches an observer at another replica as it comes, numbered as at the owner, to the proper end."""
    upstream = Steps(EVENTS)
    async with joined(upstream, tmp_path) as ((a, b), _, _), RawClient(a.port) as client:
        await start(client, "t-1")
        await known(b, "t-1")
        async with RawClient(a.port) as here, RawClient(b.port) as there:
            await here.get(PATH)
            await there.get(PATH)
            for count in range(1, len(EVENTS) + 1):
                upstream.go.release()
                for each in (client, here, there):
                    await each.until(b"data:", count)
            at_owner, elsewhere = await here.answer(), await there.answer()
    assert elsewhere.complete
    assert elsewhere.body == at_owner.body
    assert sorted(_stable(elsewhere.headers)) == sorted(_stable(at_owner.headers))


def _stable(headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(name.lower(), value) for name, value in headers if name.lower() != "date"]


async def test_from_any_event_on(tmp_path: Path) -> None:
    """`Last-Event-ID` and `after` go on behind any event, by every id, live and over: the answer is the owner's."""
    async with joined(events_then_hang(SAID), tmp_path) as ((a, b), _, _), RawClient(a.port) as client:
        await start(client, "t-1")
        await client.until(b"data:", len(SAID))
        await known(b, "chatcmpl-scripted-1")
        async with RawClient(b.port) as live:
            await live.get(f"{PATH}?after=3")
            await live.until(b"data:", len(SAID) - 3)
            receipt = (await stop(b, "t-1")).json()
            told = await live.answer()
        assert told.body == (await call(a, "GET", f"{PATH}?after=3")).body
        for any_id in ("t-1", receipt["message_id"], "chatcmpl-scripted-1"):
            path = f"/v1/generations/{any_id}/events"
            for after in (0, 1, 8, 10, 99):
                here = await call(a, "GET", path, Last_Event_ID=str(after))
                by_header = await call(b, "GET", f"{path}?after=2", Last_Event_ID=str(after))
                by_query = await call(b, "GET", f"{path}?after={after}")
                assert by_header.body == by_query.body == here.body
                assert by_query.complete
        wrong = await call(b, "GET", f"{PATH}?after=x")
        assert await record(b, "t-1") == await record(a, "t-1")
    assert refused(wrong) == (400, "invalid_parameter")


async def test_before_the_answer_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An observer elsewhere may come long before the upstream says anything."""
    monkeypatch.setattr("proxy.engine.replicas.observing.SILENT_SECONDS", 1.5)
    upstream = Steps(EVENTS)
    async with joined(upstream, tmp_path) as ((a, b), up, _), RawClient(a.port) as client:
        async with RawClient(b.port) as there:
            await start(client, "t-1")
            await up.conn()
            await known(b, "t-1")
            await there.get(PATH)
            await asyncio.sleep(3 * 1.5)
            for _ in EVENTS:
                upstream.go.release()
            body = (await there.answer()).body
        assert body == (await call(a, "GET", PATH)).body


async def test_whose_it_is(tmp_path: Path) -> None:
    """Somebody else's generation looks unknown through every replica, byte for byte, record and events."""
    async with joined(events_then_hang(SAID), tmp_path, "abc") as ((a, b, c), _, _), RawClient(a.port) as client:
        await start(client, "t-1", ask=Ask("ann"))
        await client.until(b"data:", len(SAID))
        await known(b, "t-1", identity_of("ann"))
        for proxy in (a, b, c):
            for rest in ("", "/events"):
                foreign = await call(proxy, "GET", f"/v1/generations/t-1{rest}", ask=Ask("bob"))
                unknown = await call(proxy, "GET", f"/v1/generations/t-2{rest}", ask=Ask("bob"))
                assert (foreign.status, foreign.body) == (unknown.status, unknown.body)
                assert refused(foreign) == (404, "not_found")
        assert (await record(c, "t-1", Ask("ann")))["outcome"] == "running"


@pytest.mark.parametrize("then", ["reset", "plain"])
async def test_other_endings(tmp_path: Path, then: str) -> None:
    """A stream that broke is broken off elsewhere too; an answer that is no stream is one event."""
    script = sse_stream(SAID, then="reset") if then == "reset" else json_answer({"choices": []})
    async with joined(script, tmp_path) as ((a, b), _, _):
        await call(a, "POST", "/v1/chat/completions", PLAIN | {"stream": then == "reset"}, X_Task_Id="t-1")
        await settled(a)
        await known(b, "t-1")
        here, there = await call(a, "GET", PATH), await call(b, "GET", PATH)
    assert (there.status, there.body, there.complete) == (here.status, here.body, here.complete)
    assert there.complete == (then == "plain")


async def test_nobody_observes(tmp_path: Path) -> None:
    """Nothing of a stream goes over the bus, and nobody waits there, while no one reads it elsewhere."""
    async with joined(sse_stream(EVENTS), tmp_path) as ((a, b), _, redis):
        await call(a, "POST", "/v1/chat/completions", PLAIN | {"stream": True}, X_Task_Id="t-1")
        await known(b, "t-1")
        await record(b, "t-1")
        assert b"xadd" not in redis.command("INFO", "commandstats")
        assert b"xread" not in redis.command("INFO", "commandstats")
        await call(b, "GET", PATH)
        assert b"xadd" in redis.command("INFO", "commandstats")
        assert b"xread" in redis.command("INFO", "commandstats")


def noisy_events(count: int) -> list[bytes]:
    """Events that don't shrink."""
    chance = random.Random(7)
    return [sse(chance.randbytes(400).hex()) for _ in range(count)]


async def test_a_slow_observer_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that reads slowly elsewhere holds up neither the stream nor others, fills no bus, and gets every byte."""
    shrink_send_buffers(monkeypatch)
    events = [*noisy_events(1500), DONE]
    async with joined(sse_stream(events), tmp_path) as ((a, b), _, redis):
        async with RawClient(a.port) as client, RawClient(b.port, receive_buffer=16_384) as slow:
            await start(client, "t-1")
            await client.until(b"data:")
            await known(b, "t-1")
            await slow.get(PATH)
            await slow.until(b"data:")
            assert (await client.answer()).body == b"".join(events)
            whole = (await call(b, "GET", PATH)).body
            size = sum(redis.command("MEMORY", "USAGE", name) for name in redis.names() if b"parcels" in name)
            assert size < 2 * len(whole)
            got = await slow.answer()
        assert got.complete
        assert got.body == whole == (await call(a, "GET", PATH)).body
