"""Resume and stop together: a response is left, read on from an exact position by many, and stopped meanwhile."""

import asyncio
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from support.chat import chat_events, text
from support.client import RawClient
from support.edge import send
from support.proxy import RunningProxy
from support.responses import again, begin, cancel, ended, forget_tapes, get, served, text_of, told, types, watch_path
from support.scripts import endless_sse, events_then_hang, sse_stream
from support.stops import call, record, stop
from support.wait import eventually

WORDS = chat_events(400)[:-2]
"""A stream that is not over, of 401 events."""
READERS = (0, 3, 4, 57, 250, 403)


async def read_on(proxy: RunningProxy, response_id: str, after: int) -> list[dict[str, Any]]:
    """What a reader gets from a position on, to the end."""
    return told(await again(proxy, response_id, after), first=after + 1)


async def test_left_read_on_and_stopped(tmp_path: Path) -> None:
    """Left in the middle, read on by several from exact positions, stopped meanwhile: all see the same ending."""
    async with served(events_then_hang(WORDS), tmp_path) as (proxy, up):
        async with RawClient(proxy.port) as starter:
            response_id = await begin(starter, background=True)
            await starter.until(b"output_text.delta", 60)
        await eventually(lambda: _has(proxy, response_id, text(400)), what="the upstream has said all")
        readers = [asyncio.create_task(read_on(proxy, response_id, after)) for after in READERS]  # noqa: TID251 a test's own
        async with RawClient(proxy.port) as first:
            await first.get(watch_path(response_id))
            await first.until(b"event: response.output_text.delta", 400)
            answer = await cancel(proxy, response_id)
            await up.no_connections()
            whole = told((await first.answer()).body)
        found = await asyncio.gather(*readers)
        late = await read_on(proxy, response_id, 200)
    assert types(whole)[-1] == "cancelled"
    assert whole[-1]["response"] == answer.json()
    assert text_of(whole[-1]["response"]) == text(400)
    for after, events in zip((*READERS, 200), (*found, late), strict=True):
        assert events == whole[after + 1 :]


async def _has(proxy: RunningProxy, response_id: str, words: str) -> bool:
    return text_of(await get(proxy, response_id)) == words


@pytest.mark.parametrize("by", ["its own cancel", "a native stop", "an operator"])
async def test_every_stop_ends_it_alike(tmp_path: Path, by: str) -> None:
    """Whoever stops a response, its readers see one and the same end, and so does who asks later."""
    async with served(events_then_hang(WORDS[:9]), tmp_path) as (proxy, up), RawClient(proxy.port) as starter:
        response_id = await begin(starter, background=True)
        await starter.until(b"event: response.output_text.delta", 8)
        if by == "its own cancel":
            assert (await cancel(proxy, response_id)).status == 200
        elif by == "a native stop":
            assert (await stop(proxy, response_id)).json()["result"] == "stopped"
        else:
            (relay,) = proxy.app.engine.registry
            task_id = relay.generation.facts.task_id
            async with RawClient(proxy.admin_port) as admin:
                token = [("Authorization", "Bearer token-of-the-tests")]
                await admin.post(f"/api/generations/{task_id}/cancel", b"{}", token)
                assert (await admin.answer()).status == 200
        await up.no_connections()
        events = told((await starter.answer()).body)
        kept = await record(proxy, response_id)
        repeated = await cancel(proxy, response_id)
        assert await read_on(proxy, response_id, 2) == events[3:]
    assert events[-1]["type"] == "response.cancelled"
    assert repeated.json() == events[-1]["response"]
    assert kept["outcome"] == "cancelled"
    assert kept["cause"] == ("operator" if by == "an operator" else "client")


async def test_a_lingering_stream(tmp_path: Path) -> None:
    """A response in the foreground of a route that lingers is left, read on, and stays wanted as long as it is read."""
    route = {"on_disconnect": "linger", "linger": "60s"}
    async with served(events_then_hang(WORDS[:9]), tmp_path, route=route) as (proxy, up):
        async with RawClient(proxy.port) as starter:
            response_id = await begin(starter)
            await starter.until(b"event: response.output_text.delta", 8)
        async with RawClient(proxy.port) as reader:
            await reader.get(watch_path(response_id, 5))
            await reader.until(b"event: response.output_text.delta", 6)
            (relay,) = proxy.app.engine.registry
            assert relay._alone_since is None
            assert (await cancel(proxy, response_id)).status == 200
            await up.no_connections()
            events = told((await reader.answer()).body, first=6)
    assert types(events)[-1] == "cancelled"


async def test_readers_come_and_go(tmp_path: Path) -> None:
    """Forty readers come at random positions, some leave: none misses or doubles an event, none stops anything."""
    chance = random.Random(3)
    events = chat_events(300)
    async with served(sse_stream(events, 0.002), tmp_path) as (proxy, up):
        async with RawClient(proxy.port) as starter:
            response_id = await begin(starter, background=True)
            await starter.until(b"event: response.output_text.delta", 20)

        async def read(after: int) -> Sequence[dict[str, Any]]:
            await asyncio.sleep(chance.uniform(0, 0.3))
            if chance.random() < 0.3:
                async with RawClient(proxy.port) as leaver:
                    await leaver.get(watch_path(response_id, after))
                    await leaver.until(b"output_text.delta")
                return ()
            return await read_on(proxy, response_id, after)

        positions = [chance.randrange(20) for _ in range(40)]
        found = await asyncio.gather(*map(read, positions))
        whole = told(await again(proxy, response_id))
        assert up.opened == 1
    assert text_of(whole[-1]["response"]) == text(300)
    for after, got in zip(positions, found, strict=True):
        assert list(got) in ([], whole[after + 1 :])


async def test_positions_that_are_not_there(tmp_path: Path) -> None:
    """A position that no event has is refused while a response is made; of one that is over nothing follows its end."""
    async with served(events_then_hang(WORDS[:9]), tmp_path) as (proxy, _), RawClient(proxy.port) as starter:
        response_id = await begin(starter, background=True)
        await starter.until(b"event: response.output_text.delta", 8)
        early = await send(proxy, "GET", watch_path(response_id, 5000))
        await cancel(proxy, response_id)
        await ended(proxy, response_id)
        behind_the_end = await again(proxy, response_id, 5000)
    assert (early.status, early.json()["error"]["param"]) == (400, "starting_after")
    assert behind_the_end == b""


async def test_a_stream_longer_than_its_tape(tmp_path: Path) -> None:
    """What is no longer kept of a long stream is said again, event for event, and goes on without a gap."""
    async with served(endless_sse(chat_events(1)[1], 0.0005), tmp_path, limits={"tape": "128KiB"}) as (proxy, _):
        async with RawClient(proxy.port) as starter:
            response_id = await begin(starter, background=True)
            (relay,) = proxy.app.engine.registry
            await eventually(lambda: relay.tape.start > 0, what="the tape has forgotten its beginning")
        readers = [asyncio.create_task(read_on(proxy, response_id, after)) for after in (0, 7, 300)]  # noqa: TID251 a test's own
        async with RawClient(proxy.port) as first:
            await first.get(watch_path(response_id))
            await first.until(b"event: response.output_text.delta", 1000)
            await cancel(proxy, response_id)
            whole = told((await first.answer()).body)
        for after, events in zip((0, 7, 300), await asyncio.gather(*readers), strict=True):
            assert events == whole[after + 1 :]
        assert told(await again(proxy, response_id)) == whole
        forget_tapes(proxy)
        assert told(await again(proxy, response_id)) == whole


async def test_the_native_events(tmp_path: Path) -> None:
    """`/events` of the generation has the same events, numbered from 1."""
    async with served(sse_stream(chat_events(3)), tmp_path) as (proxy, _), RawClient(proxy.port) as client:
        response_id = await begin(client)
        answer = await client.answer()
        native = await call(proxy, "GET", f"/v1/generations/{response_id}/events?after=4")
    events = answer.events
    assert native.body == b"".join(b"id: %d\n%b" % (number, event) for number, event in enumerate(events[4:], 5))
