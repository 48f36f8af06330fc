"""Async messages are cancelled and deleted: the upstream is closed, the stream well-formed, the text gone."""

from pathlib import Path
from typing import Any

import pytest

from support.async_messages import (
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
from support.scripts import events_then_hang, hang, headers_then_hang, sse_stream
from support.stops import call, record, settled, stop

EVENTS = chat_events(8, usage=True)
SAID = chat_events(8)[:-2]
"""A stream that is not over: role and eight words, no finish reason."""
WHOLE = ["message_start", "content_block_start", "content_block_delta", "content_block_stop", "message_delta"]
KEYS = ["stream", "status", "cancel", "delete", ""]
METHODS = {"stream": "GET", "status": "GET", "cancel": "POST", "delete": "DELETE", "": "DELETE"}


@pytest.mark.parametrize("body", [b"", {}, {"reason": "x"}, b"no json"])
async def test_cancel(tmp_path: Path, body: Any) -> None:
    """A cancel returns when the upstream is closed; the stream gets a well-formed close with the partial usage."""
    async with served(events_then_hang(SAID), tmp_path) as (proxy, up), RawClient(proxy.port) as reader:
        await initiate(proxy)
        await reader.get(f"{ROOT}/m-1/stream")
        await reader.until(b"text_delta", 8)
        answers = [await send(proxy, "POST", "/m-1/cancel", body)]
        assert up.connections == 0
        answers.append(await send(proxy, "POST", "/m-1/cancel", body))
        live = await reader.answer()
        assert (await status(proxy))["status"] == "cancelled"
        late = await stream(proxy)
        forget_tapes(proxy)
        again = await stream(proxy)
        kept = await record(proxy, "m-1")
    assert [answer.json() for answer in answers] == [{**CANCELLED, "message_id": "m-1"}] * 2
    assert live.complete
    assert live.body == late
    assert types_of(late) == types_of(again) == [*WHOLE, "message_stop"]
    assert told(late)[-2]["delta"] == {"stop_reason": "cancelled", "stop_sequence": None}
    assert told(late)[-2] == told(again)[-2]
    assert told(late)[-2]["usage"]["output_tokens"] > 0
    assert text_of(again) == kept["text"] == text(8)
    assert (kept["outcome"], kept["cause"], kept["message_id"]) == ("cancelled", "client", "m-1")


@pytest.mark.parametrize("script", [hang(), headers_then_hang()])
async def test_cancel_before_the_first_token(tmp_path: Path, script: Any) -> None:
    """A cancel works while the upstream is silent; the stream then has no block."""
    async with served(script, tmp_path) as (proxy, up):
        await initiate(proxy)
        await up.conn()
        await send(proxy, "POST", "/m-1/cancel")
        await up.no_connections()
        assert types_of(await stream(proxy)) == ["message_start", "message_delta", "message_stop"]
        assert (await status(proxy))["status"] == "cancelled"


async def test_cancel_before_its_start(tmp_path: Path) -> None:
    """A cancel that overtakes the start of its message is 404, and the message is never asked of the upstream."""
    async with served(hang(), tmp_path) as (proxy, up):
        early = await send(proxy, "POST", "/m-1/cancel")
        assert (early.status, early.json()) == (404, no_stream("m-1"))
        await initiate(proxy)
        said = await stream(proxy)
        assert types_of(said) == ["message_start", "message_delta", "message_stop"]
        assert (await status(proxy))["status"] == "cancelled"
        assert up.requests == []


async def test_cancel_after_the_end(tmp_path: Path) -> None:
    """A message that is over stays what it is; its cancel has the same words."""
    async with served(sse_stream(EVENTS), tmp_path) as (proxy, _):
        await initiate(proxy)
        await stream(proxy)
        await settled(proxy)
        for _again in range(2):
            assert (await send(proxy, "POST", "/m-1/cancel")).json() == {**CANCELLED, "message_id": "m-1"}
            assert (await status(proxy))["status"] == "completed"
            forget_tapes(proxy)


async def test_native_and_admin_stops(tmp_path: Path) -> None:
    """The native API lists a message and stops it by its id; it ends in its own dialect's way."""
    async with served(events_then_hang(SAID), tmp_path) as (proxy, up):
        await initiate(proxy)
        await up.conn()
        listed = (await call(proxy, "GET", "/v1/generations")).json()["data"]
        assert [each["message_id"] for each in listed] == ["m-1"]
        assert (await stop(proxy, "m-1")).json()["result"] == "stopped"
        assert told(await stream(proxy))[-2]["delta"]["stop_reason"] == "cancelled"
        assert (await status(proxy))["status"] == "cancelled"


@pytest.mark.parametrize("path", ["/m-1/delete", "/m-1"])
async def test_delete_active(tmp_path: Path, path: str) -> None:
    """A delete stops the upstream, ends every reader's stream, and leaves nothing of the text anywhere."""
    async with served(events_then_hang(SAID), tmp_path, ledger={"text": "all"}) as (proxy, up):
        async with RawClient(proxy.port) as reader:
            await initiate(proxy)
            await reader.get(f"{ROOT}/m-1/stream")
            await reader.until(b"text_delta", 8)
            deleted = await send(proxy, "DELETE", path)
            assert up.connections == 0
            assert (await reader.answer()).complete
        assert (deleted.status, deleted.body) == (204, b"")
        kept = await record(proxy, "m-1")
        assert (kept["text"], kept["characters"], kept["outcome"]) == (None, len(text(8)), "cancelled")
        observed = await call(proxy, "GET", "/v1/generations/m-1/events")
        assert b"text_delta" not in observed.body
        for verb in KEYS:
            again = await send(proxy, METHODS[verb], f"/m-1/{verb}".rstrip("/"))
            assert (again.status, again.json()) == (404, no_stream("m-1"))
        up.script = sse_stream(EVENTS)
        await initiate(proxy)
        assert text_of(await stream(proxy)) == text(8)


async def test_delete_finished(tmp_path: Path) -> None:
    """A message that is over is deleted with the text of its record; one that follows under its id is another one."""
    async with served(sse_stream(EVENTS), tmp_path, ledger={"text": "all"}) as (proxy, _):
        await initiate(proxy)
        await stream(proxy)
        await settled(proxy)
        assert (await record(proxy, "m-1"))["text"] == text(8)
        assert (await send(proxy, "DELETE", "/m-1/delete")).status == 204
        kept = await record(proxy, "m-1")
        assert (kept["text"], kept["completion_tokens"]) == (None, 8)
        assert (await send(proxy, "GET", "/m-1/status")).status == 404


async def test_wiped_while_it_lives(tmp_path: Path) -> None:
    """The text of a live generation can be wiped: who reads it reads to the end, afterwards it is nowhere."""
    async with served(events_then_hang(SAID), tmp_path) as (proxy, _), RawClient(proxy.port) as reader:
        await initiate(proxy)
        await reader.get(f"{ROOT}/m-1/stream")
        await reader.until(b"text_delta", 8)
        (relay,) = proxy.app.engine.registry
        await proxy.app.engine.deleter.wipe(relay.generation.facts.uid)
        await send(proxy, "POST", "/m-1/cancel")
        assert (await reader.answer()).body.endswith(b'data: {"type":"message_stop"}\n\n')
        assert (await record(proxy, "m-1"))["text"] is None
        assert (await call(proxy, "GET", "/v1/generations/m-1/events")).status == 410
        assert relay.tape.start == relay.tape.end
