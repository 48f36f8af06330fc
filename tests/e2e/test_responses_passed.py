"""Responses that are passed through: byte for byte, folded on the way, and stopped by their own cancel."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from support.client import Answer, RawClient
from support.edge import send
from support.openai_types import check_response
from support.program import config_text
from support.proxy import RunningProxy, running_proxy
from support.recordings import recorded
from support.responses import ROOT, told, types
from support.scripts import by_path, events_then_hang, hang, in_turn, json_answer, one_byte_chunks, sse_stream
from support.stops import ANYBODY, Ask, call, record, settled, stop
from support.upstream import Script, ScriptedUpstream, scripted_upstream

STREAM = {"model": "m", "input": "Tell me.", "stream": True}
ME, OTHER = Ask("sk-me"), Ask("sk-other")
ID = "resp_up1"


def event(kind: str, number: int, **fields: Any) -> bytes:
    """One event as OpenAI sends it."""
    data = json.dumps({"type": kind, "sequence_number": number, **fields})
    return f"event: {kind}\ndata: {data}\n\n".encode()


def response(status: str, **fields: Any) -> dict[str, Any]:
    """A response as OpenAI shows it."""
    known = {"id": ID, "object": "response", "created_at": 7, "model": "m-1", "output": [], "metadata": {}}
    more = {"parallel_tool_calls": True, "tool_choice": "auto", "tools": [], "error": None, "incomplete_details": None}
    return {
        **known,
        **more,
        "instructions": None,
        "temperature": 1.0,
        "top_p": 1.0,
        "usage": None,
        "status": status,
        **fields,
    }


MESSAGE = {"id": "msg_1", "type": "message", "role": "assistant", "status": "in_progress", "content": []}
WHERE = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
PART = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
SAID = [
    event("response.created", 0, response=response("in_progress")),
    event("response.in_progress", 1, response=response("in_progress")),
    event("response.output_item.added", 2, output_index=0, item=MESSAGE),
    event("response.content_part.added", 3, part=PART, **WHERE),
    event("response.output_text.delta", 4, delta="Rain ", logprobs=[], **WHERE),
    event("response.output_text.delta", 5, delta="fell", logprobs=[], **WHERE),
]
"""A stream that is not over."""
USAGE = {
    "input_tokens": 3,
    "input_tokens_details": {"cached_tokens": 1, "cache_write_tokens": 0},
    "output_tokens": 2,
    "output_tokens_details": {"reasoning_tokens": 0},
    "total_tokens": 5,
}
WHOLE = [*SAID, event("response.completed", 6, response=response("completed", usage=USAGE))]


@asynccontextmanager
async def served(script: Script, folder: Path, **config: Any) -> AsyncIterator[tuple[RunningProxy, ScriptedUpstream]]:
    """The proxy with a plain openai route, in front of an upstream."""
    async with scripted_upstream(script) as up, running_proxy(config_text(up.base_url, **config), folder) as proxy:
        yield proxy, up


async def cancel(proxy: RunningProxy, any_id: str, ask: Ask = ME) -> Answer:
    """The API's cancel."""
    return await send(proxy, "POST", f"{ROOT}/{any_id}/cancel", headers=ask.headers())


@pytest.mark.parametrize("name", ["llama-responses", "transformers-responses"])
async def test_a_stream_passes_byte_for_byte(tmp_path: Path, name: str) -> None:
    """What a real server streamed arrives as it was sent, and the record has its text, its id and its own counts."""
    body = recorded(name)
    async with served(one_byte_chunks(body), tmp_path, ledger={"text": "all"}) as (proxy, _):
        answer = await call(proxy, "POST", ROOT, STREAM, ANYBODY, X_Task_Id="t-1")
        await settled(proxy)
        kept = await record(proxy, "t-1")
        by_own_id = await record(proxy, kept["upstream_id"])
    assert answer.body == body
    assert (kept["outcome"], kept["usage_source"], kept["dialect"]) == ("completed", "upstream", "openai")
    last = json.loads(body.strip().rpartition(b"data: ")[2])["response"]
    assert kept["text"] == last["output"][0]["content"][0]["text"]
    assert kept["upstream_id"] == last["id"]
    assert by_own_id["task_id"] == "t-1"


async def test_a_whole_answer(tmp_path: Path) -> None:
    """A response that is not streamed passes as it is, with its text and counts in the record."""
    body = json.loads(recorded("llama-responses-plain"))
    async with served(json_answer(body), tmp_path, ledger={"text": "all"}) as (proxy, _):
        answer = await call(proxy, "POST", ROOT, {"model": "m", "input": "x"}, ANYBODY, X_Task_Id="t-1")
        await settled(proxy)
        kept = await record(proxy, "t-1")
    assert answer.json() == body
    assert (kept["completion_tokens"], kept["cached_tokens"]) == (40, 23)
    assert kept["text"] == body["output"][0]["content"][0]["text"]


async def test_cancel_stops_a_stream(tmp_path: Path) -> None:
    """A cancel closes the upstream, is answered with the partial, and the stream ends with `response.cancelled`."""
    async with served(events_then_hang(SAID), tmp_path) as (proxy, up), RawClient(proxy.port) as client:
        await client.post(ROOT, STREAM, ME.headers(X_Task_Id="t-1"))
        await client.until(b"fell")
        answer = await cancel(proxy, ID)
        await up.no_connections()
        stream = await client.answer()
        kept = await record(proxy, "t-1", ME)
        repeated = await cancel(proxy, ID)
    assert answer.status == 200, answer.body
    found = answer.json()
    check_response(found)
    assert (found["id"], found["status"], found["model"]) == (ID, "cancelled", "m-1")
    assert found["output"][0]["content"][0]["text"] == "Rain fell"
    assert stream.complete
    assert stream.body.startswith(b"".join(SAID))
    events = told(stream.body)
    last = events[-1]
    assert (last["type"], last["response"]["output"][0]["id"]) == ("response.cancelled", "msg_1")
    assert last["response"]["output"][0]["content"][0]["text"] == "Rain fell"
    assert (kept["outcome"], kept["cause"], kept["text"]) == ("cancelled", "client", "Rain fell")
    assert (repeated.status, repeated.body) == (200, answer.body)


async def test_a_repeated_cancel_after_a_restart(tmp_path: Path) -> None:
    """The same answer, from the ledger alone."""
    async with served(events_then_hang(SAID), tmp_path) as (proxy, _), RawClient(proxy.port) as client:
        await client.post(ROOT, STREAM, ME.headers())
        await client.until(b"fell")
        answer = await cancel(proxy, ID)
    async with served(hang(), tmp_path) as (proxy, up):
        repeated = await cancel(proxy, ID)
        foreign = await cancel(proxy, ID, OTHER)
        assert up.requests == []
    assert (repeated.status, repeated.body) == (200, answer.body)
    assert foreign.status == 404


async def test_cancel_by_the_chosen_id(tmp_path: Path) -> None:
    """A response that is not streamed has no id to its caller yet: it is stopped by the one that the caller chose."""
    async with served(hang(), tmp_path) as (proxy, up), RawClient(proxy.port) as client:
        await client.post(ROOT, {"model": "m", "input": "x"}, ME.headers(X_Task_Id="t-1"))
        await up.conn()
        answer = await cancel(proxy, "t-1")
        await up.no_connections()
        stopped = await client.answer()
    check_response(answer.json())
    assert (answer.status, answer.json()["status"], answer.json()["output"]) == (200, "cancelled", [])
    assert stopped.status == 499


async def test_a_native_stop(tmp_path: Path) -> None:
    """A native stop ends the stream in the API's way too, before the first event as well."""
    async with served(events_then_hang([b": wait\n\n"]), tmp_path) as (proxy, _), RawClient(proxy.port) as client:
        await client.post(ROOT, STREAM, ME.headers(X_Task_Id="t-1"))
        await client.until(b"wait")
        assert (await stop(proxy, "t-1", ME)).json()["result"] == "stopped"
        stream = await client.answer()
    assert types(told(stream.body)) == ["created", "cancelled"]


async def test_what_is_over_cannot_be_cancelled(tmp_path: Path) -> None:
    """A response that ended by itself: 400, in the words that other servers have for it; nothing goes upstream."""
    async with served(sse_stream(WHOLE), tmp_path) as (proxy, up):
        await call(proxy, "POST", ROOT, STREAM, ME)
        await settled(proxy)
        answer = await cancel(proxy, ID)
        assert len(up.requests) == 1
    assert answer.status == 400
    assert answer.json()["error"]["message"] == "Cannot cancel a synchronous response."


async def test_unknown_and_foreign_ids(tmp_path: Path) -> None:
    """An unknown id, somebody else's, and one of a chat completion: 404, nothing is stopped, nothing goes upstream."""
    async with served(events_then_hang(SAID), tmp_path) as (proxy, up), RawClient(proxy.port) as client:
        await client.post(ROOT, STREAM, ME.headers())
        await client.until(b"fell")
        unknown, foreign = await cancel(proxy, "resp_unknown"), await cancel(proxy, ID, OTHER)
        async with RawClient(proxy.port) as chat:
            body = {"model": "m", "stream": True, "messages": []}
            await chat.post("/v1/chat/completions", body, ME.headers(X_Task_Id="chat-1"))
            await up.conn(1)
            other_kind = await cancel(proxy, "chat-1")
            assert up.connections == 2
        assert len(up.requests) == 2
    assert [answer.status for answer in (unknown, foreign, other_kind)] == [404, 404, 404]
    assert unknown.body == foreign.body


async def test_a_cancel_by_another_method(tmp_path: Path) -> None:
    """It takes POST, in exactly these letters; nothing of it is passed on."""
    async with served(hang(), tmp_path) as (proxy, up):
        get = await send(proxy, "GET", f"{ROOT}/{ID}/cancel")
        upper = await send(proxy, "POST", f"/v1/Responses/{ID}/cancel")
        assert up.requests == []
    assert (get.status, upper.status) == (405, 404)


CANCELLED = response("cancelled", background=True)
BACKGROUND = {
    "/v1/responses": json_answer(response("queued", background=True)),
    f"/v1/responses/{ID}/cancel": json_answer(CANCELLED),
}


async def test_a_background_response_is_cancelled_by_its_upstream(tmp_path: Path) -> None:
    """Its cancel is passed on for who created it, after a restart too; for others it looks unknown."""
    body = {"model": "m", "input": "x", "background": True}
    async with served(by_path(BACKGROUND), tmp_path) as (proxy, up):
        created = await call(proxy, "POST", ROOT, body, ME, X_Task_Id="t-1")
        await settled(proxy)
        foreign, own = await cancel(proxy, ID, OTHER), await cancel(proxy, ID)
        kept = await record(proxy, "t-1", ME)
        assert [each.target for each in up.requests] == ["/v1/responses", f"/v1/responses/{ID}/cancel"]
        assert up.requests[1].header("Authorization") == "Bearer sk-me"
    async with served(by_path(BACKGROUND), tmp_path) as (proxy, _):
        later = await cancel(proxy, ID)
    assert created.json()["status"] == "queued"
    assert (kept["outcome"], kept["usage_source"]) == ("completed", "none")
    assert foreign.status == 404
    assert (own.status, own.json()) == (later.status, later.json()) == (200, CANCELLED)


async def test_a_background_response_named_by_somebody_elses_id(tmp_path: Path) -> None:
    """A chosen task id that is the id of another caller's response reaches no cancel of that; nothing goes upstream."""
    body = {"model": "m", "input": "x", "background": True}
    async with served(by_path(BACKGROUND), tmp_path) as (proxy, up):
        await call(proxy, "POST", ROOT, body, OTHER, X_Task_Id="resp_victim")
        await settled(proxy)
        ended = await cancel(proxy, "resp_victim", OTHER)
        assert len(up.requests) == 1
    async with served(events_then_hang(SAID), tmp_path) as (proxy, up), RawClient(proxy.port) as client:
        await client.post(ROOT, {**STREAM, "background": True}, OTHER.headers(X_Task_Id="resp_victim2"))
        await client.until(b"fell")
        live = await cancel(proxy, "resp_victim2", OTHER)
        assert len(up.requests) == 1
    assert (ended.status, live.status) == (404, 404)


async def test_a_background_stream(tmp_path: Path) -> None:
    """Its reader may leave; a cancel meanwhile is passed on, and the upstream's own end is what the stream shows."""
    script = in_turn(events_then_hang(SAID), json_answer(CANCELLED))
    async with served(script, tmp_path) as (proxy, up):
        async with RawClient(proxy.port) as client:
            await client.post(ROOT, {**STREAM, "background": True}, ME.headers(X_Task_Id="t-1"))
            await client.until(b"fell")
        answer = await cancel(proxy, ID)
        assert (answer.status, answer.json()) == (200, CANCELLED)
        assert (await record(proxy, "t-1", ME))["outcome"] == "running"
        assert up.connections >= 1


async def test_a_broken_stream(tmp_path: Path) -> None:
    """A stream that breaks ends with the API's error event, numbered on, and its connection is broken off."""
    async with served(sse_stream(SAID, then="reset"), tmp_path) as (proxy, _):
        answer = await call(proxy, "POST", ROOT, STREAM, ME)
    assert types(told(answer.body))[-1] == "error"
    assert not answer.complete
