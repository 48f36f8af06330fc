"""Async messages end to end: started, read, cancelled and deleted by id, over real sockets."""

import asyncio
import json
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from proxy.core.conversation import MessageStatus
from proxy.dialects.async_messages.translation import MessageTranslation
from proxy.engine.desk import Desk
from support.async_messages import (
    BODY,
    CANCELLED,
    ROOT,
    ROUTE,
    initiate,
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
from support.program import config_text, running_program
from support.proxy import RunningProxy, running_proxy
from support.scripts import events_then_hang, hang, headers_then_hang, sse_stream
from support.stops import Ask, call, record, settled, stop
from support.upstream import Conn, scripted_upstream
from support.wait import eventually

EVENTS = chat_events(8, usage=True)
SAID = chat_events(8)[:-2]
"""A stream that is not over: role and eight words, no finish reason."""
WHOLE = ["message_start", "content_block_start", "content_block_delta", "content_block_stop", "message_delta"]
ANN, BOB = Ask("ann"), Ask("bob")
KEYS = ["stream", "status", "cancel", "delete", ""]
METHODS = {"stream": "GET", "status": "GET", "cancel": "POST", "delete": "DELETE", "": "DELETE"}


def no_stream(message_id: str) -> dict[str, Any]:
    """What is said of an id that the caller has no message with."""
    return {"detail": f"Stream with message_id {message_id} not found"}


def forget_tapes(proxy: RunningProxy) -> None:
    """Let the time pass after which nothing of ended generations is kept in memory."""
    for finished in proxy.app.engine.registry.expire(proxy.app.engine.now() + 1000):
        finished.tape.close()


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


async def test_duplicates(tmp_path: Path) -> None:
    """An id is taken as long as its message is stored, live or over; what has it stays as it is."""
    async with served(sse_stream(EVENTS), tmp_path) as (proxy, up):
        answers = await asyncio.gather(*(send(proxy, "POST", "?message_id=m-1", BODY) for _ in range(8)))
        assert sorted(answer.status for answer in answers) == [200] + [422] * 7
        assert text_of(await stream(proxy)) == text(8)
        await settled(proxy)
        assert len((await call(proxy, "GET", "/v1/generations")).json()["data"]) == 1
        late = await send(proxy, "POST", "?message_id=m-1", BODY)
        forget_tapes(proxy)
        assert (await status(proxy))["status"] == "completed"
        assert len(up.requests) == 1
    detail = {"loc": ["query", "message_id"], "msg": "Stream with this message_id already exists"}
    assert (late.status, late.json()["detail"]) == (422, [{**detail, "type": "value_error"}])


async def test_duplicate_in_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A start that finds its id taken only when it writes is refused as well, and what has the id goes on untouched."""
    async with served(events_then_hang(SAID), tmp_path) as (proxy, up):
        await initiate(proxy)
        await up.conn()

        async def nothing(*_: Any) -> None:
            return None

        with monkeypatch.context() as patch:
            patch.setattr(type(proxy.app.engine.conversations), "find_message", nothing)
            patch.setattr(Desk, "find", lambda *_: None)
            refused = await send(proxy, "POST", "?message_id=m-1", BODY)
        await eventually(lambda: len(proxy.app.engine.registry) == 1, what="the second start is over")
        assert (refused.status, refused.json()["detail"][0]["loc"]) == (422, ["query", "message_id"])
        assert (await status(proxy))["status"] == "processing"
        await send(proxy, "POST", "/m-1/cancel")
        assert text_of(await stream(proxy)) == text(8)
        assert len(up.requests) == 1


async def test_cancel_while_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cancel that comes while the start is on its way to the disk finds its message, and stops it."""
    go = asyncio.Event()
    async with served(hang(), tmp_path) as (proxy, up):
        store = type(proxy.app.engine.conversations)
        add = store.add_messages

        async def slowly(self: Any, *messages: Any) -> bool:
            await go.wait()
            return await add(self, *messages)

        monkeypatch.setattr(store, "add_messages", slowly)
        starting = asyncio.create_task(initiate(proxy))  # noqa: TID251 the test is its owner
        await eventually(lambda: len(proxy.app.engine.registry), what="the message is on its way")
        cancelling = asyncio.create_task(send(proxy, "POST", "/m-1/cancel"))  # noqa: TID251 the test is its owner
        await asyncio.wait({cancelling}, timeout=0.05)
        assert not cancelling.done()
        go.set()
        await starting
        assert (await cancelling).status == 200
        assert (await status(proxy))["status"] == "cancelled"
        await up.no_connections()


async def test_read_while_its_end_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A message that was stopped before it could say anything has its whole stream, be its end not on disk yet."""
    go = asyncio.Event()
    async with served(hang(), tmp_path) as (proxy, _):
        ledger = type(proxy.app.engine.ledger)
        end = ledger.end

        async def slowly(self: Any, *records: Any) -> None:
            await go.wait()
            await end(self, *records)

        monkeypatch.setattr(ledger, "end", slowly)
        await send(proxy, "POST", "/m-1/cancel")
        await initiate(proxy)
        async with RawClient(proxy.port) as reader:
            await eventually(lambda: all(relay.ending for relay in proxy.app.engine.registry), what="it has ended")
            await reader.get(f"{ROOT}/m-1/stream")
            reading = asyncio.create_task(reader.answer())  # noqa: TID251 the test is its owner
            await asyncio.wait({reading}, timeout=0.05)
            assert not reading.done()
            go.set()
            assert types_of((await reading).body) == ["message_start", "message_delta", "message_stop"]


async def test_ended_just_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A message that ends between two looks at it is shown as it ended."""
    async with served(sse_stream(EVENTS), tmp_path) as (proxy, _):
        await initiate(proxy)
        await settled(proxy)
        store = type(proxy.app.engine.conversations)
        find = store.find_message
        looks: list[str] = []

        async def stale(self: Any, owner: Any, message_id: str) -> Any:
            found: Any = await find(self, owner, message_id)
            looks.append(message_id)
            return replace(found, status=MessageStatus.IN_PROGRESS) if len(looks) == 1 else found

        monkeypatch.setattr(store, "find_message", stale)
        assert (await status(proxy))["status"] == "completed"


async def test_wiped_while_it_lives(tmp_path: Path) -> None:
    """The text of a live generation can be wiped: who reads it reads to the end, afterwards it is nowhere."""
    async with served(events_then_hang(SAID), tmp_path) as (proxy, _), RawClient(proxy.port) as reader:
        await initiate(proxy)
        await reader.get(f"{ROOT}/m-1/stream")
        await reader.until(b"text_delta", 8)
        (relay,) = proxy.app.engine.registry
        await proxy.app.engine.wipe(relay.generation.facts.uid)
        await send(proxy, "POST", "/m-1/cancel")
        assert (await reader.answer()).body.endswith(b'data: {"type":"message_stop"}\n\n')
        assert (await record(proxy, "m-1"))["text"] is None
        assert (await call(proxy, "GET", "/v1/generations/m-1/events")).status == 410
        assert relay.tape.start == relay.tape.end


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


def written(folder: Path) -> str:
    """The text of messages in progress that has reached the disk."""
    with closing(sqlite3.connect(f"file:{folder / 'quell.db'}?mode=ro", uri=True)) as db:
        return "".join(piece for (piece,) in db.execute('SELECT piece FROM message_text ORDER BY "offset"'))


async def test_killed(tmp_path: Path) -> None:
    """After a `kill -9` a message that was being made shows what was written of it, then an error."""
    async with scripted_upstream(events_then_hang(SAID)) as up:
        config = config_text(up.base_url, route=ROUTE)
        async with running_program(config, tmp_path) as program, RawClient(program.port) as client:
            await client.post(f"{ROOT}?message_id=m-1", BODY)
            assert (await client.answer()).status == 200
            await eventually(lambda: written(tmp_path) == text(8), what="the text is on disk")
            program.kill()
        async with running_program(config, tmp_path) as program, RawClient(program.port) as client:
            await client.get(f"{ROOT}/m-1/stream")
            said = (await client.answer()).body
            await client.get(f"{ROOT}/m-1/status")
            found = (await client.answer()).json()
    assert types_of(said) == ["message_start", "content_block_start", "content_block_delta", "error"]
    assert text_of(said) == text(8)
    assert found["status"] == "error"
    assert "stopped while" in found["error_message"]
    assert found["completed_at"] is not None


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


async def test_restart(tmp_path: Path) -> None:
    """A message is read again after a restart; what was cut off by the restart's end shows its partial."""
    async with scripted_upstream(sse_stream(EVENTS)) as up:
        config = config_text(up.base_url, route=ROUTE)
        async with running_proxy(config, tmp_path) as proxy:
            await initiate(proxy)
            first = await stream(proxy)
            up.script = events_then_hang(SAID)
            await initiate(proxy, "m-2")
            async with RawClient(proxy.port) as reader:
                await reader.get(f"{ROOT}/m-2/stream")
                await reader.until(b"text_delta", 8)
        async with running_proxy(config, tmp_path) as proxy:
            again, cut = await stream(proxy), await stream(proxy, "m-2")
            assert (await send(proxy, "POST", "?message_id=m-1", BODY)).status == 422
            assert (await send(proxy, "POST", "/m-2/cancel")).status == 200
            assert (await status(proxy, "m-2"))["status"] == "cancelled"
    other = "content_block_delta"
    assert [e for e in told(again) if e["type"] != other] == [e for e in told(first) if e["type"] != other]
    assert (text_of(again), text_of(cut)) == (text(8), text(8))
    assert told(cut)[-2]["delta"]["stop_reason"] == "cancelled"
