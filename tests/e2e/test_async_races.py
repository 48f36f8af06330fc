"""Async messages between two looks: an id taken meanwhile, a start or an end on its way to the disk."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from proxy.core.conversation import MessageStatus
from proxy.engine.translating.desk import Desk
from support.async_messages import (
    BODY,
    ROOT,
    forget_tapes,
    initiate,
    send,
    served,
    status,
    stream,
    text_of,
    types_of,
)
from support.chat import chat_events, text
from support.client import RawClient
from support.scripts import events_then_hang, hang, sse_stream
from support.stops import call, settled
from support.wait import eventually

EVENTS = chat_events(8, usage=True)
SAID = chat_events(8)[:-2]
"""A stream that is not over: role and eight words, no finish reason."""


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
