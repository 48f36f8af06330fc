"""Async messages end to end: started, read live and over, asked for their status, over real sockets."""

import asyncio
import json
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from proxy.dialects.async_messages.translation import MessageTranslation
from support.async_messages import (
    BODY,
    CANCELLED,
    ROOT,
    forget_tapes,
    initiate,
    no_stream,
    send,
    served,
    status,
    stream,
    text_of,
    told,
    types_of,
)
from support.chat import chat_events, text
from support.client import RawClient
from support.scripts import events_then_hang, sse_stream
from support.stops import Ask, settled
from support.upstream import Conn
from support.wait import eventually

EVENTS = chat_events(8, usage=True)
SAID = chat_events(8)[:-2]
"""A stream that is not over: role and eight words, no finish reason."""
WHOLE = ["message_start", "content_block_start", "content_block_delta", "content_block_stop", "message_delta"]
ANN, BOB = Ask("ann"), Ask("bob")
KEYS = ["stream", "status", "cancel", "delete", ""]
METHODS = {"stream": "GET", "status": "GET", "cancel": "POST", "delete": "DELETE", "": "DELETE"}


async def test_read_live_and_over(tmp_path: Path) -> None:
    """Every reader gets the stream from its first event, live, after the end, and when the tape is gone."""
    go = asyncio.Event()

    async def script(conn: Conn) -> None:
        await go.wait()
        await sse_stream(EVENTS)(conn)

    async with (
        served(script, tmp_path, upstream={"usage": "final"}) as (proxy, up),
        RawClient(proxy.port) as one,
        RawClient(proxy.port) as two,
    ):
        await initiate(proxy)
        for client in (one, two):
            await client.get(f"{ROOT}/m-1/stream")
            await client.until(b"message_start")
        go.set()
        live = [(await client.answer()).body for client in (one, two)]
        await settled(proxy)
        late = await stream(proxy)
        forget_tapes(proxy)
        again = await stream(proxy)
        sent = json.loads(up.requests[0].body)
        ended = await status(proxy)
    assert live[0] == live[1] == late
    assert text_of(late) == text_of(again) == text(8)
    assert types_of(late) == types_of(again) == [*WHOLE, "message_stop"]
    assert told(late)[-2] == told(again)[-2]
    assert told(late)[-2]["usage"] == {"input_tokens": 7, "output_tokens": 8}
    assert sent == {
        "model": "scripted",
        "messages": BODY["messages"],
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": 64,
    }
    assert (ended["status"], ended["error_message"], ended["stream_type"]) == ("completed", None, "chat_completion")
    assert ended["metadata"] == {"message_count": 1, "thinking_enabled": False}


async def test_status(tmp_path: Path) -> None:
    """A message is pending until its first block, then processing; times are ISO 8601 with a Z."""
    go = asyncio.Event()

    async def script(conn: Conn) -> None:
        await conn.head(200, [("Content-Type", "text/event-stream")])
        await conn.chunk(SAID[0])
        await go.wait()
        await conn.chunk(SAID[1])
        await conn.sleep_until_closed()

    async with served(script, tmp_path) as (proxy, up):
        await initiate(proxy, thinking={"type": "enabled", "budget_tokens": 1024})
        await up.conn()
        pending = await status(proxy)
        go.set()

        async def processing() -> bool:
            return bool((await status(proxy))["status"] == "processing")

        await eventually(processing, what="the message is processing")
        assert (await send(proxy, "POST", "/m-1/cancel")).json() == {**CANCELLED, "message_id": "m-1"}
        cancelled = await status(proxy)
    assert (pending["status"], pending["completed_at"]) == ("pending", None)
    assert pending["metadata"] == {"message_count": 1, "thinking_enabled": True}
    assert (cancelled["status"], cancelled["created_at"]) == ("cancelled", pending["created_at"])
    for name in ("created_at", "updated_at", "completed_at"):
        assert cancelled[name].endswith("Z")
        datetime.fromisoformat(cancelled[name])
    assert cancelled["updated_at"] == cancelled["completed_at"] > cancelled["created_at"]


async def test_goes_on_without_readers(tmp_path: Path) -> None:
    """A message is made to its end when its only reader leaves, and when nobody ever read it."""
    go = asyncio.Event()

    async def script(conn: Conn) -> None:
        await conn.head(200, [("Content-Type", "text/event-stream")])
        await conn.chunk(b"".join(EVENTS[:3]))
        await go.wait()
        await conn.chunk(b"".join(EVENTS[3:]))
        await conn.end()

    async with served(script, tmp_path) as (proxy, _):
        await initiate(proxy)
        await initiate(proxy, "m-2")
        async with RawClient(proxy.port) as reader:
            await reader.get(f"{ROOT}/m-1/stream")
            await reader.until(b"text_delta")
            reader.reset()
        await eventually(lambda: not any(relay.readers for relay in proxy.app.engine.registry), what="it has left")
        go.set()
        await settled(proxy)
        for message_id in ("m-1", "m-2"):
            assert text_of(await stream(proxy, message_id)) == text(8)
            assert (await status(proxy, message_id))["status"] == "completed"


async def test_callers_do_not_meet(tmp_path: Path) -> None:
    """Two callers may use the same id; a foreign one looks unknown, and nothing done to it has an effect."""
    async with served(events_then_hang(SAID), tmp_path) as (proxy, up):
        await initiate(proxy, ask=ANN)
        await up.conn()
        for verb in KEYS:
            foreign = await send(proxy, METHODS[verb], f"/m-1/{verb}".rstrip("/"), ask=BOB)
            assert (foreign.status, foreign.json()) == (404, no_stream("m-1"))
        await initiate(proxy, "m-2", ask=BOB)
        await initiate(proxy, "m-2", ask=ANN)
        await send(proxy, "POST", "/m-2/cancel", ask=BOB)
        assert (await status(proxy, "m-2", BOB))["status"] == "cancelled"
        assert (await status(proxy, "m-2", ANN))["status"] in {"pending", "processing"}
        assert (await status(proxy, "m-1", ANN))["status"] in {"pending", "processing"}


async def test_generated_id(tmp_path: Path) -> None:
    """Without an id of the caller's a new one is made, which is also the generation's message id."""
    async with served(sse_stream(EVENTS), tmp_path) as (proxy, _):
        answer = await send(proxy, "POST", "", BODY)
        message_id = answer.json()["message_id"]
        assert answer.header("X-Message-Id") == message_id
        start = told(await stream(proxy, message_id))[0]["message"]
    assert start["id"].startswith("msg_")
    assert start["id"] != message_id
    assert start["model"] == "scripted"


async def test_long_live_stream(tmp_path: Path) -> None:
    """A reader who comes when the tape has lost its beginning still gets all of a live stream."""
    words = [f"word-{number} " for number in range(600)]
    events = chat_events(words=words)
    go = asyncio.Event()

    async def script(conn: Conn) -> None:
        await conn.head(200, [("Content-Type", "text/event-stream")])
        await conn.chunk(b"".join(events[:500]))
        await go.wait()
        await conn.chunk(b"".join(events[500:]))
        await conn.end()

    async with (
        served(script, tmp_path, limits={"tape": "64KiB"}) as (proxy, _),
        RawClient(proxy.port) as reader,
    ):
        await initiate(proxy)
        live = proxy.app.engine.registry
        await eventually(lambda: any(relay.tape.start for relay in live), what="the tape has lost its beginning")
        await reader.get(f"{ROOT}/m-1/stream")
        await reader.until(b"text_delta")
        go.set()
        said = (await reader.answer()).body
        await settled(proxy)
        late = await stream(proxy)
    assert text_of(said) == text_of(late) == "".join(words)
    assert types_of(said) == types_of(late) == [*WHOLE, "message_stop"]


async def test_ping(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader of a silent stream gets pings with a data line, first after 15 s; they are not part of the stream."""
    ping = MessageTranslation.keep_alive
    assert (ping.every, ping.idle, ping.frame) == (15.0, True, b'event: ping\ndata: {"type":"ping"}\n\n')
    monkeypatch.setattr(MessageTranslation, "keep_alive", replace(ping, every=0.1))
    async with served(events_then_hang(SAID), tmp_path) as (proxy, _), RawClient(proxy.port) as reader:
        await initiate(proxy)
        await reader.get(f"{ROOT}/m-1/stream")
        await reader.until(ping.frame, 2)
        await send(proxy, "POST", "/m-1/cancel")
        await reader.answer()
        assert b"ping" not in await stream(proxy)
