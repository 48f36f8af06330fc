"""Cancels of the dialect aitronos: edit or keep, decided once, answered alike, also to a client that left first."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from proxy.core.lifecycle import Outcome
from proxy.dialects.aitronos import cancel as cancelling
from proxy.engine.relaying.relay import Relay
from support.aitronos import (
    DONE,
    EDIT,
    KEEP,
    RESPOND,
    asks,
    begin,
    cancel,
    error_of,
    events_of,
    messages,
    names,
    sent,
    served,
)
from support.chat import chat_events, sse, text
from support.client import RawClient
from support.edge import send
from support.program import ADMIN_TOKEN
from support.proxy import RunningProxy
from support.scripts import events_then_hang, hang, in_turn, sse_stream
from support.stops import Ask, call, record, settled, stop
from support.wait import eventually, within

SAID = chat_events(8)[:-2]
"""A stream that is not over: role and eight words, no finish reason."""

MODES = [(EDIT, "quick_edit"), (KEEP, "keep_partial")]
FIELDS = {
    "success",
    "cancel_mode",
    "elapsed_seconds",
    "user_message_deleted",
    "assistant_response_deleted",
    "partial_content_saved",
}


def is_mode(body: dict[str, Any], mode: str) -> bool:
    """Whether the six fields of a cancel's answer say one mode, and agree."""
    edits = body["cancel_mode"] == "quick_edit"
    agree = body["user_message_deleted"] is body["assistant_response_deleted"] is edits
    return set(body) == FIELDS and body["success"] and agree and body["cancel_mode"] == mode


async def wait_for_words(client: RawClient) -> None:
    """Read until all eight words are there."""
    await client.until(b"content_delta", 8)


async def settled_by_leaving(proxy: RunningProxy) -> None:
    """Wait until the generation whose client left is settled."""
    await eventually(lambda: len(proxy.app.engine.registry) == 0, what="the generation is settled")


@pytest.mark.parametrize(("window", "mode"), MODES, ids=["edit", "keep"])
async def test_cancel_mid_stream(tmp_path: Path, window: Any, mode: str) -> None:
    """A cancel closes the upstream and ends the stream once; early both messages are gone, later the partial stays."""
    async with served(events_then_hang(SAID), tmp_path, cancellation=window) as (proxy, up):
        async with RawClient(proxy.port) as client:
            thread_id = await begin(client)
            await wait_for_words(client)
            receipt = await cancel(proxy, thread_id)
            found = await client.answer()
        conn = await up.conn()
        await within(conn.closed.wait(), "the upstream sees the close")
        again = await cancel(proxy, thread_id.replace("thrd_", "thread_"))
        kept = await messages(proxy, thread_id)
        billed = await record(proxy, thread_id)
    assert receipt.status == 200
    assert is_mode(receipt.json(), mode)
    assert receipt.json()["elapsed_seconds"] >= 0
    assert (again.status, again.json()) == (200, receipt.json())
    events = events_of(found.body)
    assert events[-1]["event"] == "response.cancelled"
    assert (events[-1]["thread_id"], events[-1]["partial_content_length"]) == (thread_id, len(text(8)))
    assert names(events).count("response.cancelled") == 1
    assert "response.completed" not in names(events)
    assert found.body.endswith(DONE + b"\n\n")
    assert found.body.count(DONE) == 1
    assert found.complete
    assert (billed["outcome"], billed["cause"]) == ("cancelled", "client")
    assert billed["completion_tokens"] > 0
    if mode == "quick_edit":
        assert kept == []
        assert billed["text"] is None
    else:
        assert [(each["role"], each["content"]) for each in kept] == [("user", "Hello"), ("assistant", text(8))]
        assert (kept[1]["status"], kept[1]["metadata"]) == ("cancelled", {"cancelled": True})
        assert billed["text"] == text(8)


async def test_edit_leaves_nothing_to_read_again(tmp_path: Path) -> None:
    """After a quick edit the tape has no text any more; after a later cancel it has."""
    for window, status in ((EDIT, 410), (KEEP, 200)):
        async with served(events_then_hang(SAID), tmp_path, cancellation=window) as (proxy, _):
            async with RawClient(proxy.port) as client:
                thread_id = await begin(client)
                await wait_for_words(client)
                await cancel(proxy, thread_id)
                await client.answer()
            found = await call(proxy, "GET", f"/v1/generations/{thread_id}/events")
        assert (text(1).encode() in found.body) == (status == 200), found.body


async def test_cancel_of_the_second_turn(tmp_path: Path) -> None:
    """A quick edit takes the last turn away, not the ones before it, and the next input goes on from there."""
    script = in_turn(sse_stream(chat_events(1)), events_then_hang(SAID), sse_stream(chat_events(1)))
    async with served(script, tmp_path, cancellation=EDIT) as (proxy, up), RawClient(proxy.port) as client:
        thread_id = (await call(proxy, "POST", RESPOND, asks("one"))).json()["thread_id"]
        await begin(client, content="two", thread_id=thread_id)
        await wait_for_words(client)
        await cancel(proxy, thread_id)
        await client.answer()
        await call(proxy, "POST", RESPOND, asks("two, better", thread_id=thread_id))
        assert [each["content"] for each in sent(up)["messages"]] == ["one", text(1), "two, better"]
        late = await cancel(proxy, thread_id)
    assert error_of(late, 404)["code"] == "RESOURCE_NOT_FOUND"


@pytest.mark.parametrize(("window", "mode"), MODES, ids=["edit", "keep"])
async def test_cancel_before_the_first_token(tmp_path: Path, window: Any, mode: str) -> None:
    """A cancel right after the first event stops the upstream while it is silent."""
    async with served(hang(), tmp_path, cancellation=window) as (proxy, up), RawClient(proxy.port) as client:
        thread_id = await begin(client)
        conn = await up.conn()
        receipt = await cancel(proxy, thread_id)
        found = await client.answer()
        await within(conn.closed.wait(), "the upstream sees the close")
    assert is_mode(receipt.json(), mode)
    assert names(events_of(found.body)) == ["response.processing", "response.cancelled"]
    assert events_of(found.body)[-1]["partial_content_length"] == 0


async def test_cancel_of_a_whole_answer(tmp_path: Path) -> None:
    """A call that waits for its JSON can be cancelled too: it gets 499 in the envelope, and no retry."""
    async with served(sse_stream(chat_events(1)), tmp_path, cancellation=KEEP) as (proxy, up):
        thread_id = (await call(proxy, "POST", RESPOND, asks())).json()["thread_id"]
        up.script = events_then_hang(SAID)
        async with RawClient(proxy.port) as client:
            await client.post(RESPOND, asks(thread_id=thread_id))
            await up.conn(1)
            receipt = await cancel(proxy, thread_id)
            found = await client.answer()
    assert is_mode(receipt.json(), "keep_partial")
    assert error_of(found, 499)["code"] == "RESPONSE_CANCELLED"
    assert found.header("x-should-retry") == "false"


async def test_partial_length_is_in_characters(tmp_path: Path) -> None:
    """The length of what came is in Unicode code points, not in bytes or UTF-16 units."""
    said = chat_events(words=["\N{SNOWMAN}", "\N{PARTY POPPER}", "e\N{COMBINING ACUTE ACCENT}"])[:-2]
    async with served(events_then_hang(said), tmp_path, cancellation=KEEP) as (proxy, _):
        async with RawClient(proxy.port) as client:
            thread_id = await begin(client)
            await client.until(b"content_delta", 3)
            await cancel(proxy, thread_id)
            found = await client.answer()
        kept = await messages(proxy, thread_id)
    assert events_of(found.body)[-1]["partial_content_length"] == len(kept[1]["content"]) == 4


@pytest.mark.parametrize(("window", "mode"), MODES, ids=["edit", "keep"])
async def test_client_that_left_first(tmp_path: Path, window: Any, mode: str) -> None:
    """A cancel right after its starter closed the stream gets its mode, as often as asked; the cause stays."""
    async with served(events_then_hang(SAID), tmp_path, cancellation=window) as (proxy, _):
        async with RawClient(proxy.port) as client:
            thread_id = await begin(client)
            await wait_for_words(client)
            client.fin()
        await settled_by_leaving(proxy)
        receipt = await cancel(proxy, thread_id)
        again = await cancel(proxy, thread_id)
        kept = await messages(proxy, thread_id)
        billed = await record(proxy, thread_id)
    assert is_mode(receipt.json(), mode)
    assert again.json() == receipt.json()
    assert (billed["outcome"], billed["cause"]) == ("client_gone", "disconnect")
    assert len(kept) == (0 if mode == "quick_edit" else 2)
    assert (billed["text"] is None) == (mode == "quick_edit")


async def test_client_that_left_long_ago(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some seconds after its starter left a stream is over, and a cancel finds none."""
    monkeypatch.setattr(cancelling, "LEFT_SECONDS", 0.0)
    async with served(events_then_hang(SAID), tmp_path) as (proxy, _):
        async with RawClient(proxy.port) as client:
            thread_id = await begin(client)
            await wait_for_words(client)
            client.fin()
        await settled_by_leaving(proxy)
        found = await cancel(proxy, thread_id)
        assert len(await messages(proxy, thread_id)) == 2
    assert error_of(found, 404)["code"] == "RESOURCE_NOT_FOUND"


async def test_nothing_to_cancel(tmp_path: Path) -> None:
    """A finished stream and an unknown thread are the same 404; a body that is no object is 422."""
    async with served(sse_stream(chat_events(1)), tmp_path) as (proxy, _):
        thread_id = (await call(proxy, "POST", RESPOND, asks())).json()["thread_id"]
        finished = error_of(await cancel(proxy, thread_id), 404)
        unknown = error_of(await cancel(proxy, "thrd_unknown"), 404)
        invalid = error_of(await cancel(proxy, thread_id, body=b"[1]"), 422)
    assert finished["message"] == unknown["message"]
    assert (finished["code"], finished["type"]) == ("RESOURCE_NOT_FOUND", "client_error")
    assert (invalid["code"], invalid["details"]["fields"][0]["field"]) == ("VALIDATION_ERROR", "body")


async def test_somebody_elses_live_stream(tmp_path: Path) -> None:
    """Another caller's live stream is 403 and runs on; when it is over it is 404."""
    mine, other = Ask("one"), Ask("two")
    async with served(events_then_hang(SAID), tmp_path) as (proxy, _), RawClient(proxy.port) as client:
        thread_id = await begin(client, mine)
        await wait_for_words(client)
        error = error_of(await cancel(proxy, thread_id, other), 403)
        assert (error["code"], error["type"]) == ("INSUFFICIENT_PERMISSIONS", "authorization_error")
        assert (await record(proxy, thread_id, mine))["outcome"] == "running"
        assert (await cancel(proxy, thread_id, mine)).status == 200
        await client.answer()
        assert error_of(await cancel(proxy, thread_id, other), 404)["code"] == "RESOURCE_NOT_FOUND"


@pytest.mark.parametrize(("window", "mode"), MODES, ids=["edit", "keep"])
@pytest.mark.parametrize("by", ["native", "admin"])
async def test_stop_from_elsewhere(tmp_path: Path, window: Any, mode: str, by: str) -> None:
    """A native or an operator's stop ends the stream in the same way, and the API's cancel then says the mode."""
    async with served(events_then_hang(SAID), tmp_path, cancellation=window) as (proxy, _):
        async with RawClient(proxy.port) as client:
            thread_id = await begin(client)
            await wait_for_words(client)
            if by == "native":
                receipt = await stop(proxy, thread_id)
            else:
                async with RawClient(proxy.admin_port) as admin:
                    await admin.post(
                        f"/api/generations/{thread_id}/cancel", b"", [("Authorization", f"Bearer {ADMIN_TOKEN}")]
                    )
                    receipt = await admin.answer()
            found = await client.answer()
        assert receipt.json()["result"] == "stopped", receipt.body
        kept = await messages(proxy, thread_id)
        mine = await cancel(proxy, thread_id)
    assert names(events_of(found.body))[-1] == "response.cancelled"
    assert len(kept) == (0 if mode == "quick_edit" else 2)
    assert is_mode(mine.json(), mode)


async def test_shutdown_edits_nothing(tmp_path: Path) -> None:
    """A server that shuts down ends the stream as cancelled, and keeps the question and the partial answer."""
    async with served(events_then_hang(SAID), tmp_path, cancellation=EDIT) as (proxy, _):
        async with RawClient(proxy.port) as client:
            thread_id = await begin(client)
            await wait_for_words(client)
            proxy.app.engine.stop_all()
            found = await client.answer()
        kept = await messages(proxy, thread_id)
    assert names(events_of(found.body))[-1] == "response.cancelled"
    assert [each["content"] for each in kept] == ["Hello", text(8)]


async def test_structured_partial(tmp_path: Path) -> None:
    """A later cancel of a stream of blocks says the unfinished paragraph too, before its end."""
    script = events_then_hang(chat_events(words=["One.\n\n", "Tw"])[:-2])
    async with served(script, tmp_path, cancellation=KEEP) as (proxy, _), RawClient(proxy.port) as client:
        thread_id = await begin(client, output_mode="structured")
        await client.until(b"response.block")
        await cancel(proxy, thread_id)
        events = events_of((await client.answer()).body)
    blocks = [each["block"]["text"] for each in events if each["event"] == "response.block"]
    assert blocks == ["One.", "Tw"]
    assert events[-1]["partial_content_length"] == len("One.\n\nTw")


async def test_race_with_the_end(tmp_path: Path) -> None:
    """However a cancel meets the end: one terminal event, and the cancel's answer agrees with it."""
    ends: set[tuple[str, int]] = set()
    async with served(sse_stream(chat_events(3), 0.002), tmp_path, cancellation=KEEP) as (proxy, _):
        for number in range(60):
            async with RawClient(proxy.port) as client:
                thread_id = await begin(client)
                await asyncio.sleep(number % 20 * 0.0007)
                found = await cancel(proxy, thread_id)
                stream = await client.answer()
            events = [each["event"] for each in events_of(stream.body)]
            last = events[-1]
            assert sum(each in ("response.completed", "response.cancelled", "response.error") for each in events) == 1
            assert stream.body.count(DONE) == 1
            ends.add((last, found.status))
        await settled(proxy)
    assert ends <= {("response.completed", 404), ("response.cancelled", 200)}


async def test_cancel_of_an_error(tmp_path: Path) -> None:
    """A stream that failed is over: there is nothing to cancel."""
    script = sse_stream([*SAID, sse({"error": {"message": "broke"}})])
    async with served(script, tmp_path) as (proxy, _), RawClient(proxy.port) as client:
        thread_id = await begin(client)
        await client.answer()
        assert error_of(await cancel(proxy, thread_id), 404)["code"] == "RESOURCE_NOT_FOUND"
        found = await send(proxy, "GET", f"{RESPOND}/{thread_id}/cancel")
        assert error_of(found, 405)["code"] == "METHOD_NOT_ALLOWED"


def held(proxy: RunningProxy, monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Let no generation come to its end before the event is set: its tokens take that long to be counted."""
    released = asyncio.Event()

    async def count(_relay: Relay) -> None:
        await released.wait()

    monkeypatch.setattr(proxy.app.engine, "count", count)
    return released


@pytest.mark.parametrize(("window", "mode"), MODES, ids=["edit", "keep"])
async def test_cancel_that_is_not_confirmed_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, window: dict[str, Any], mode: str
) -> None:
    """A cancel that is answered before the end says the mode that the end then has."""
    settings = {**window, "confirm_timeout": "20ms"}
    async with served(events_then_hang(SAID), tmp_path, cancellation=settings) as (proxy, _):
        released = held(proxy, monkeypatch)
        async with RawClient(proxy.port) as client:
            thread_id = await begin(client)
            await wait_for_words(client)
            receipt = await cancel(proxy, thread_id)
            released.set()
            found = await client.answer()
        await settled(proxy)
        assert is_mode(receipt.json(), mode)
        assert (await cancel(proxy, thread_id)).json() == receipt.json()
        assert names(events_of(found.body))[-1] == "response.cancelled"
        assert len(await messages(proxy, thread_id)) == (0 if mode == "quick_edit" else 2)


async def test_cancel_of_what_is_complete_and_not_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cancel after the last token, while the end is still being written, finds nothing to stop."""
    settings = {**EDIT, "confirm_timeout": "20ms"}
    async with served(sse_stream(chat_events(1)), tmp_path, cancellation=settings) as (proxy, _):
        released = held(proxy, monkeypatch)
        async with RawClient(proxy.port) as client:
            thread_id = await begin(client)
            (relay,) = proxy.app.engine.registry
            await eventually(lambda: relay.generation.outcome is Outcome.COMPLETED, what="the answer is complete")
            assert error_of(await cancel(proxy, thread_id), 404)["code"] == "RESOURCE_NOT_FOUND"
            released.set()
            found = await client.answer()
        assert names(events_of(found.body))[-1] == "response.completed"
        assert len(await messages(proxy, thread_id)) == 2


async def test_stop_before_its_stream(tmp_path: Path) -> None:
    """A native stop that comes before the stream with that id keeps the upstream from being called at all."""
    async with served(events_then_hang(SAID), tmp_path, cancellation=EDIT) as (proxy, up):
        thread_id = (await call(proxy, "POST", "/v1/threads", {})).json()["id"]
        assert (await stop(proxy, "t-1")).status == 404
        found = await call(proxy, "POST", RESPOND, asks(stream=True, thread_id=thread_id), X_Task_Id="t-1")
        assert error_of(found, 499)["code"] == "RESPONSE_CANCELLED"
        await settled(proxy)
        assert await messages(proxy, thread_id) == []
        assert up.opened == 0
        assert (await cancel(proxy, thread_id)).json()["cancel_mode"] == "quick_edit"


async def test_refused_request_leaves_all_as_it_was(tmp_path: Path) -> None:
    """A request that is refused after a cancel starts nothing: the cancel is still answered as before."""
    async with served(events_then_hang(SAID), tmp_path, cancellation=KEEP) as (proxy, _):
        async with RawClient(proxy.port) as client:
            thread_id = await begin(client)
            await wait_for_words(client)
            receipt = await cancel(proxy, thread_id)
            await client.answer()
        wrong = await call(proxy, "POST", RESPOND, asks(thread_id=thread_id, edit_message_id="msg_unknown"))
        assert error_of(wrong, 404)["code"] == "RESOURCE_NOT_FOUND"
        assert (await cancel(proxy, thread_id)).json() == receipt.json()
