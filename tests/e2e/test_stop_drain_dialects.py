"""What translated dialects show of a generation whose upstream is read on behind a stop: all of it is over for them."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from support import aitronos, async_messages, responses
from support.chat import chat_events
from support.client import RawClient
from support.proxy import RunningProxy
from support.scripts import SSE
from support.stops import call, record, settled, stop
from support.upstream import Conn, ScriptedUpstream
from support.wait import within

DRAIN = {"on_stop": "drain", "usage": "final"}
WHOLE = chat_events(12, usage=True)
SLOW: dict[str, Any] = {"confirm_timeout": "10m", "quick_edit_window": "1ms"}
"""Whoever waits for an upstream's end waits for too long."""


class Upstream:
    """An upstream that says so many events of its answer, and the rest when it is let go."""

    def __init__(self, first: int, events: Sequence[bytes] = WHOLE) -> None:
        self.go_on = asyncio.Event()
        self._first = first
        self._events = events

    async def __call__(self, conn: Conn) -> None:
        """See `Script`."""
        if not self._first:
            await self.go_on.wait()
        await conn.head(200, SSE)
        for event in self._events[: self._first]:
            await conn.chunk(event)
        await self.go_on.wait()
        for event in self._events[self._first :]:
            await conn.chunk(event)
        await conn.end()


Served = tuple[RunningProxy, ScriptedUpstream]


@asynccontextmanager
async def served(made: Any, upstream: Upstream, folder: Path, **config: Any) -> AsyncIterator[Served]:
    """The proxy with a route of a dialect; what is read on ends behind the test."""
    async with made.served(upstream, folder, upstream=DRAIN, cancellation=SLOW, **config) as found:
        yield found
        upstream.go_on.set()
        await settled(found[0])


async def test_the_next_turn_of_a_thread(tmp_path: Path) -> None:
    """A stopped turn leaves its thread free at once, and a stop by the thread's id is for the turn that runs."""
    async with served(aitronos, Upstream(9), tmp_path) as (proxy, up):
        async with RawClient(proxy.port) as first, RawClient(proxy.port) as second:
            thread_id = await aitronos.begin(first)
            await first.until(b"tin ")
            assert (await within(aitronos.cancel(proxy, thread_id), "the first cancel")).status == 200
            await first.until(aitronos.DONE)
            again = await within(aitronos.begin(second, thread_id=thread_id), "the second turn begins")
            await second.until(b"tin ")
            receipt = (await within(stop(proxy, thread_id), "the stop by the thread's id")).json()
            await second.until(aitronos.DONE)
        second_record = await record(proxy, thread_id)
        assert (again, receipt["result"], up.connections) == (thread_id, "stopping", 2)
    assert (second_record["task_id"], second_record["cause"]) == (receipt["task_id"], "client")


@pytest.mark.parametrize("first", [0, 9], ids=["nothing said", "some words said"])
async def test_an_async_message_is_over(tmp_path: Path, first: int) -> None:
    """Its status, its stream and its deletion are those of a stopped message, while its upstream still works."""
    async with served(async_messages, Upstream(first), tmp_path) as (proxy, up):
        await async_messages.initiate(proxy)
        conn = await up.conn()
        if first:
            async with RawClient(proxy.port) as reader:
                await reader.get(f"{async_messages.ROOT}/m-1/stream")
                await reader.until(b"tin ")
        cancelled = await within(async_messages.send(proxy, "POST", "/m-1/cancel"), "the cancel is answered")
        status = await within(async_messages.status(proxy), "the status")
        said = await within(async_messages.stream(proxy), "the stream ends")
        deleted = await within(async_messages.send(proxy, "DELETE", "/m-1"), "the deletion")
        gone = await async_messages.send(proxy, "GET", "/m-1/stream")
        events = await call(proxy, "GET", "/v1/generations/m-1/events")
        assert not conn.closed.is_set()
    assert (cancelled.status, status["status"], deleted.status) == (200, "cancelled", 204)
    assert async_messages.types_of(said)[-1] in ("message_stop", "error")
    assert (gone.status, events.status) == (404, 410)


async def test_a_stream_whose_beginning_is_no_longer_kept(tmp_path: Path) -> None:
    """A stopped message too long for the tape is said again from the store, to its end."""
    words = [f"{number} " * 1000 for number in range(100)]
    upstream = Upstream(len(words) + 1, chat_events(words=words, usage=True))
    async with served(async_messages, upstream, tmp_path, limits={"tape": "100KiB"}) as (proxy, up):
        await async_messages.initiate(proxy)
        async with RawClient(proxy.port) as reader:
            await reader.get(f"{async_messages.ROOT}/m-1/stream")
            await reader.until(b"99 99 ")
        await async_messages.send(proxy, "POST", "/m-1/cancel")
        said = await within(async_messages.stream(proxy), "the stream ends")
        assert up.connections == 1
    assert async_messages.text_of(said) == "".join(words)
    assert async_messages.types_of(said)[-1] == "message_stop"


@pytest.mark.parametrize("first", [0, 9], ids=["nothing said", "some words said"])
async def test_a_background_response_is_over(tmp_path: Path, first: int) -> None:
    """It is cancelled for whoever looks, and its stream can be read again to its end."""
    async with served(responses, Upstream(first), tmp_path) as (proxy, up):
        async with RawClient(proxy.port) as reader:
            body = {"model": "m", "input": "Tell me.", "background": True, "stream": True}
            await reader.post(responses.ROOT, body)
            said = await reader.until(b"tin " if first else b"event: ")
            response_id = said.partition(b"X-Message-Id: ")[2].partition(b"\r\n")[0].decode()
            conn = await up.conn()
            cancelled = await within(responses.cancel(proxy, response_id), "the cancel is answered")
        found = await within(responses.get(proxy, response_id), "the response")
        again = await within(responses.again(proxy, response_id), "the stream is read again")
        assert not conn.closed.is_set()
    assert (cancelled.status, found["status"]) == (200, "cancelled")
    assert b"event: response." in again
