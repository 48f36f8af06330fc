"""Edges of translated generations: texts that must be gone, early stops, and readers that must be told."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from proxy.dialects.async_messages.translation import MessageTranslation
from proxy.engine.relaying.readers import Reader
from proxy.engine.relaying.relay import Relay
from proxy.engine.translating import translated
from proxy.engine.translating.translation import KeepAlive
from support import aitronos, dify
from support import async_messages as asynchronous
from support.aitronos import EDIT, RESPOND
from support.chat import chat_events, sse
from support.client import RawClient
from support.scripts import SSE, events_then_hang, hang, in_turn, sse_stream
from support.stops import call, record, settled
from support.upstream import Conn
from support.wait import eventually, within

TOOLS = [{"type": "function", "name": "look_up", "description": "x", "parameters": {"type": "object"}}]
SECRET = sse({"id": "c-1", "model": "m", "choices": [{"index": 0, "delta": {"content": "SECRET"}}]})
OPEN = chat_events(4)[:-2]


async def test_a_quick_edit_takes_the_texts_of_all_rounds(tmp_path: Path) -> None:
    """A quick edit in the second round of a turn with tools leaves no text of the first one, in record and events."""
    rounds = in_turn(sse_stream([SECRET, *aitronos.tool_events()]), events_then_hang(OPEN))
    async with (
        aitronos.served(rounds, tmp_path, cancellation=EDIT, ledger={"text": "all"}) as (proxy, _),
        RawClient(proxy.port) as client,
    ):
        first = await call(proxy, "POST", RESPOND, aitronos.asks(tools=TOOLS, stream=True))
        thread = aitronos.events_of(first.body)[0]["thread_id"]
        results = [{"role": "tool", "tool_call_id": "call_1", "content": "42"}]
        await client.post(RESPOND, {"inputs": results, "thread_id": thread, "tools": TOOLS, "stream": True})
        await client.until(b"content_delta", 2)
        assert (await aitronos.cancel(proxy, thread)).json()["cancel_mode"] == "quick_edit"
        await client.answer()
        await settled(proxy)
        task = first.header("X-Task-Id")
        assert (await record(proxy, str(task)))["text"] is None
        gone = await call(proxy, "GET", f"/v1/generations/{task}/events")
        assert gone.status == 410
        assert b"Its text was deleted; the record keeps the numbers." in gone.body


async def test_a_quick_edit_on_a_slow_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A quick edit whose deletion takes longer than its stream waits is done all the same."""
    monkeypatch.setattr(translated, "KEEP_SECONDS", 0.05)
    async with (
        aitronos.served(events_then_hang(OPEN), tmp_path, cancellation=EDIT) as (proxy, _),
        RawClient(proxy.port) as client,
    ):
        store = type(proxy.app.engine.conversations)
        delete, late = store.delete_messages, asyncio.Event()

        async def slowly(self: Any, *given: Any) -> Any:
            await late.wait()
            return await delete(self, *given)

        monkeypatch.setattr(store, "delete_messages", slowly)
        thread = await aitronos.begin(client)
        await client.until(b"content_delta", 4)
        (relay,) = proxy.app.engine.registry
        task = relay.generation.facts.task_id
        await aitronos.cancel(proxy, thread)
        await client.answer()
        late.set()
        await settled(proxy)
        assert (await record(proxy, task))["text"] is None
        assert (await call(proxy, "GET", f"/v1/generations/{task}/events")).status == 410
        assert await aitronos.messages(proxy, thread) == []


async def test_an_early_stop_behind_anothers_task(tmp_path: Path) -> None:
    """A stop that comes before its generation waits for it although another end user had that id before."""
    async with dify.served(in_turn(sse_stream(chat_events(1)), hang()), tmp_path) as (proxy, up):
        async with RawClient(proxy.port) as bob:
            await dify.begin(bob, "/chat-messages", dify.body(user="bob"), "chat-1")
            await bob.answer()
        await settled(proxy)
        await dify.send(proxy, "POST", "/chat-messages/chat-1/stop", {"user": "ann"})
        async with RawClient(proxy.port) as ann:
            await dify.begin(ann, "/chat-messages", dify.body(user="ann"), "chat-1")
            assert (await ann.answer()).status == 499
        assert len(up.requests) == 1


async def test_early_stops_of_two_end_users(tmp_path: Path) -> None:
    """Two end users' stops for the same id not seen yet both wait for their own generation."""
    async with dify.served(hang(), tmp_path) as (proxy, up):
        for user in ("ann", "bob"):
            assert (await dify.send(proxy, "POST", "/chat-messages/t-1/stop", {"user": user})).status == 200
        for user in ("ann", "bob"):
            async with RawClient(proxy.port) as client:
                await dify.begin(client, "/chat-messages", dify.body(user=user), "t-1")
                assert (await client.answer()).status == 499
        assert not up.requests


async def test_an_event_too_large_to_translate(tmp_path: Path) -> None:
    """An upstream's event of more than a mebibyte ends the answer with an error, not with a text that lacks a piece."""
    large = sse({"id": "c-1", "choices": [{"index": 0, "delta": {"content": "B"}}], "pad": "x" * (3 << 20)})
    events = [*chat_events(2)[:3], large, *chat_events(1)[1:]]
    async with dify.served(sse_stream(events), tmp_path) as (proxy, _):
        answer = await dify.send(proxy, "POST", "/completion-messages", dify.body())
        await settled(proxy)
        kept = await record(proxy, str(answer.header("X-Task-Id")))
    assert dify.said(answer)[-1]["event"] == "error"
    assert (kept["outcome"], kept["error_kind"]) == ("failed", "answer_too_large")


async def test_pings_although_the_upstream_comments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An upstream that only sends comments is silent for the reader, who gets the dialect's pings."""
    monkeypatch.setattr(MessageTranslation, "keep_alive", KeepAlive(0.05, b"event: ping\ndata: {}\n\n"))
    pinged = asyncio.Event()

    async def script(conn: Conn) -> None:
        await conn.head(200, SSE)
        while not pinged.is_set():
            await conn.pause(0.01)
            await conn.chunk(b": still at it\n\n")
        for event in chat_events(1):
            await conn.chunk(event)
        await conn.end()

    async with (
        asynchronous.served(script, tmp_path, ledger={"flush": "20ms"}) as (proxy, _),
        RawClient(proxy.port) as reader,
    ):
        await asynchronous.initiate(proxy)
        await reader.get(f"{asynchronous.ROOT}/m-1/stream")
        await reader.until(b"event: ping", 3)
        pinged.set()
        assert (await reader.answer()).complete


async def test_one_bad_generation_ends_no_others_deadlines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A defect in the sweep over one generation does not switch off the deadlines of those behind it."""
    sweep = Relay.sweep

    def with_a_defect(self: Relay, now: float) -> str:
        if self.generation.facts.task_id == "bad":
            raise RuntimeError("a defect in one of them")
        return sweep(self, now)

    monkeypatch.setattr(Relay, "sweep", with_a_defect)
    upstream = {"timeouts": {"first_byte": "100ms"}}
    async with (
        dify.served(hang(), tmp_path, upstream=upstream, ledger={"flush": "20ms"}) as (proxy, up),
        RawClient(proxy.port) as bad,
        RawClient(proxy.port) as good,
    ):
        await dify.begin(bad, "/completion-messages", dify.body(), "bad")
        await up.conn(0)
        await dify.begin(good, "/completion-messages", dify.body(), "good")
        assert b"timeouts.first_byte" in (await good.answer()).body


async def test_a_broken_end_is_not_taken_for_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When a defect keeps a stream from its end, whoever watches sees it break off."""

    def defect(*_given: Any) -> bytes:
        raise RuntimeError("a defect in a dialect")

    monkeypatch.setattr(MessageTranslation, "ending", defect)
    async with asynchronous.served(sse_stream(chat_events(2)), tmp_path) as (proxy, _):
        await asynchronous.initiate(proxy)
        assert not (await asynchronous.send(proxy, "GET", "/m-1/stream")).complete


async def test_a_wiped_tape_goes_with_its_last_reader(tmp_path: Path) -> None:
    """A text that is wiped while a reader of its live time still reads is gone as soon as that one leaves."""
    async with dify.served(events_then_hang(OPEN), tmp_path) as (proxy, _):
        async with RawClient(proxy.port) as client:
            await dify.begin(client, "/completion-messages", dify.body(), "t-1")
            await client.until(b"answer", 4)
            (relay,) = proxy.app.engine.registry
            late = Reader(holds=False)
            relay.attach(late)
            await dify.send(proxy, "POST", "/completion-messages/t-1/stop", {"user": "ann"})
            await client.answer()
        await settled(proxy)
        await proxy.app.engine.deleter.wipe(relay.generation.facts.uid)
        assert relay.tape.start < relay.tape.end
        relay.detach(late)
        assert relay.tape.start == relay.tape.end


async def test_nothing_is_read_of_a_text_that_is_being_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the moment a delete begins nobody gets a message's stream any more, whoever still reads it."""
    async with asynchronous.served(sse_stream(chat_events(4)), tmp_path) as (proxy, _):
        await asynchronous.initiate(proxy)
        await settled(proxy)
        finished = proxy.app.engine.registry.find_finished("anonymous", "m-1")
        assert finished is not None
        finished.attach(Reader(holds=False))
        ledger = type(proxy.app.engine.ledger)
        wipe, begun, go = ledger.wipe_text, asyncio.Event(), asyncio.Event()

        async def slowly(self: Any, uid: str) -> None:
            begun.set()
            await go.wait()
            await wipe(self, uid)

        monkeypatch.setattr(ledger, "wipe_text", slowly)
        deleting = proxy.app.tasks.start(asynchronous.send(proxy, "DELETE", "/m-1/delete"), "delete")
        await within(begun.wait(), "the delete begins")
        assert (await asynchronous.send(proxy, "GET", "/m-1/stream")).status == 404
        go.set()
        assert (await deleting).status == 204
        await eventually(lambda: proxy.app.engine.ledger.pending == 0)
