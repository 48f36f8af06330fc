"""`keepalive`: comments on a stream whose upstream is silent, and nothing else of it changes."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from support.chat import chat_events, text
from support.client import RawClient
from support.program import config_text
from support.proxy import running_proxy
from support.scripts import JSON, SSE, events_then_hang
from support.stops import CHAT, PLAIN, STREAM, call, record, settled, start, stop
from support.upstream import Conn, scripted_upstream

COMMENT = b": keep-alive\n\n"
OFTEN: dict[str, Any] = {"route": {"keepalive": "30ms"}, "ledger": {"flush": "10ms", "text": "all"}}
EVENTS = chat_events(8)
SAID = EVENTS[:-2]


async def test_comments_stand_between_events_only(tmp_path: Path) -> None:
    """However events are cut and delayed, comments come between whole events; without them the stream is the same."""
    body = b"".join(EVENTS)

    async def script(conn: Conn) -> None:
        await conn.head(200, SSE)
        for at in range(0, len(body), 300):
            await conn.chunk(body[at : at + 300])
            await heard.wait()
            heard.clear()
        await conn.end()

    heard = asyncio.Event()
    async with (
        scripted_upstream(script) as up,
        running_proxy(config_text(up.base_url, **OFTEN), tmp_path) as proxy,
        RawClient(proxy.port) as client,
    ):
        await start(client, "t-1")
        for count in range(1, 1 + -(-len(body) // 300)):
            await client.until(COMMENT, count)
            heard.set()
        received = await client.answer()
        await settled(proxy)
        kept = await record(proxy, "t-1")
        again = await call(proxy, "GET", "/v1/generations/t-1/events")
    assert received.complete
    assert received.body.replace(COMMENT, b"") == body
    assert set(received.events) - set(EVENTS) == {COMMENT}
    assert (kept["outcome"], kept["text"]) == ("completed", text(8))
    assert COMMENT not in again.body


async def test_observers_get_comments_too(tmp_path: Path) -> None:
    """An observer's connection is kept alive as the client's is; a comment has no number."""
    async with (
        scripted_upstream(events_then_hang(SAID)) as up,
        running_proxy(config_text(up.base_url, **OFTEN), tmp_path) as proxy,
        RawClient(proxy.port) as client,
        RawClient(proxy.port) as observer,
    ):
        await start(client, "t-1")
        await up.conn()
        await observer.get("/v1/generations/t-1/events?after=3")
        for each in (client, observer):
            await each.until(COMMENT, 3)
        await stop(proxy, "t-1")
        received, told = await client.answer(), await observer.answer()
    assert received.events[-1] == told.events[-1].partition(b"\n")[2] == EVENTS[-1]
    assert sum(b"\nid: " in b"\n" + event for event in told.events) == len(SAID) - 3 + 2
    assert not any(event.startswith(b"id: ") and COMMENT in event for event in told.events)


async def test_the_idle_deadline_still_counts(tmp_path: Path) -> None:
    """Our comments are no sign of life of the upstream: a silent one is still given up."""
    config = OFTEN | {"upstream": {"timeouts": {"idle": "200ms"}}}
    async with (
        scripted_upstream(events_then_hang(SAID)) as up,
        running_proxy(config_text(up.base_url, **config), tmp_path) as proxy,
    ):
        received = await call(proxy, "POST", CHAT, STREAM, X_Task_Id="t-1")
        await settled(proxy)
        kept = await record(proxy, "t-1")
    assert COMMENT in received.events
    assert not received.complete
    assert (kept["outcome"], kept["error_kind"], kept["text"]) == ("timed_out", "idle_timeout", text(8))


@pytest.mark.parametrize(("body", "headers"), [(STREAM, SSE), (PLAIN, JSON)], ids=["stream", "plain"])
async def test_where_none_may_be_sent(tmp_path: Path, body: dict[str, Any], headers: list[tuple[str, str]]) -> None:
    """Nothing is sent before the header; a plain answer, and a stream in a coding, are left as they are."""
    content = b"\x1f\x8b coded" if body is STREAM else b'{"choices":[]}' + b" " * 300_000
    coding = [("Content-Encoding", "gzip")] if body is STREAM else []

    async def script(conn: Conn) -> None:
        await conn.pause(0.1)
        assert not client.buffer
        await conn.head(200, [*headers, *coding])
        await conn.chunk(content)
        await conn.pause(0.1)
        await conn.end()

    async with (
        scripted_upstream(script) as up,
        running_proxy(config_text(up.base_url, **OFTEN), tmp_path) as proxy,
        RawClient(proxy.port) as client,
    ):
        await start(client, "t-1", body)
        assert (await client.answer()).body == content


async def test_none_without_the_setting(tmp_path: Path) -> None:
    """By default a silent stream stays silent."""
    config = {"ledger": {"flush": "10ms"}}
    async with (
        scripted_upstream(events_then_hang(SAID)) as up,
        running_proxy(config_text(up.base_url, **config), tmp_path) as proxy,
        RawClient(proxy.port) as client,
    ):
        await start(client, "t-1")
        await client.until(b"data:", len(SAID))
        await asyncio.sleep(0.1)
        await stop(proxy, "t-1")
        assert COMMENT not in (await client.answer()).body


async def test_none_inside_a_large_event(tmp_path: Path) -> None:
    """An event too large to be held passes in pieces; no comment is put between them, for nobody."""
    large = b"data: " + b"x" * 1_500_000

    async def script(conn: Conn) -> None:
        await conn.head(200, SSE)
        await conn.chunk(large)
        await conn.pause(0.2)
        await conn.chunk(b"y\n\n")
        await conn.end()

    async with (
        scripted_upstream(script) as up,
        running_proxy(config_text(up.base_url, **OFTEN), tmp_path) as proxy,
        RawClient(proxy.port) as client,
        RawClient(proxy.port) as observer,
    ):
        await start(client, "t-1")
        await up.conn()
        await observer.get("/v1/generations/t-1/events")
        received, told = await client.answer(), await observer.answer()
    assert told.body.endswith(large + b"y\n\n")
    assert received.body == large + b"y\n\n"
