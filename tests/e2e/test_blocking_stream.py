"""`blocking: stream`: a non-streaming call is asked upstream as a stream, folded, and can be stopped at any time."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from support.chat import DONE, chat_events, chat_object, completion_events, sse, text, usage_object
from support.client import RawClient
from support.program import config_text
from support.proxy import RunningProxy, running_proxy
from support.scripts import JSON, answer, events_then_hang, hang, headers_then_hang, json_answer, sse_stream
from support.stops import CHAT, PLAIN, STREAM, call, record, settled, start, stop
from support.upstream import Script, scripted_upstream
from support.wait import eventually

FOLDS: dict[str, Any] = {"route": {"blocking": "stream"}, "ledger": {"text": "all"}}
SAID = chat_events(8)[:-2]
"""A stream that is not over: role and eight words, no finish reason."""

HEAD = {"id": "c-1", "object": "chat.completion.chunk", "created": 3, "model": "m", "system_fingerprint": "fp"}


def chunk(delta: dict[str, Any], reason: str | None = None, **more: Any) -> bytes:
    """One chunk of a stream with one choice."""
    return sse({**HEAD, "choices": [{"index": 0, "delta": delta, "finish_reason": reason, **more}]})


def piece(index: int, arguments: str, **more: Any) -> bytes:
    """A piece of a tool call's arguments."""
    function = {"arguments": arguments} | more.pop("function", {})
    return chunk({"tool_calls": [{"index": index, "function": function, **more}]})


def logged(word: str) -> dict[str, Any]:
    """The logprobs of one token."""
    return {"content": [{"token": word, "logprob": -0.5, "bytes": None, "top_logprobs": []}], "refusal": None}


def plain(message: dict[str, Any], reason: str, **more: Any) -> dict[str, Any]:
    """The answer of one choice as the same server gives it to a plain call."""
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": reason, **more}
    return {**HEAD, "object": "chat.completion", "choices": [choice], "usage": usage_object(7, 2)}


USAGE = sse({**HEAD, "choices": [], "usage": usage_object(7, 2)})
CALLS = [
    {"id": "call_0", "type": "function", "function": {"name": "look", "arguments": '{"x":1}'}},
    {"id": "call_1", "type": "function", "function": {"name": "go", "arguments": "{}"}},
]
TOOLS = [
    chunk({"role": "assistant", "content": None}),
    piece(0, "", id="call_0", type="function", function={"name": "look"}),
    piece(1, "", id="call_1", type="function", function={"name": "go"}),
    piece(0, '{"x"'),
    piece(1, "{}"),
    piece(0, ":1}"),
    chunk({}, "tool_calls"),
]
LOGPROBS = [
    chunk({"role": "assistant", "content": "a"}, logprobs=logged("a")),
    chunk({"content": "b"}, logprobs=logged("b")),
    chunk({}, "length", logprobs=None),
]
BOTH_LOGGED = {"content": logged("a")["content"] + logged("b")["content"], "refusal": None}

SAME: dict[str, tuple[list[bytes], dict[str, Any]]] = {
    "text": (chat_events(8, usage=True), chat_object(8)),
    "two choices": (chat_events(8, n=2, usage=True), chat_object(8, n=2)),
    "tools": ([*TOOLS, USAGE, DONE], plain({"content": None, "tool_calls": CALLS}, "tool_calls")),
    "logprobs": ([*LOGPROBS, USAGE, DONE], plain({"content": "ab"}, "length", logprobs=BOTH_LOGGED)),
    "odd letters": (
        [chunk({"content": "\U0001f600 \u20ac \x00"}), chunk({}, "stop"), USAGE, DONE],
        plain({"content": "\U0001f600 \u20ac \x00"}, "stop"),
    ),
}


@pytest.mark.parametrize(("events", "expected"), SAME.values(), ids=SAME.keys())
async def test_the_same_as_the_plain_answer(tmp_path: Path, events: list[bytes], expected: dict[str, Any]) -> None:
    """The folded answer is what the server gives to a plain call: ids, choices, tools, logprobs, usage."""
    async with (
        scripted_upstream(sse_stream(events)) as up,
        running_proxy(config_text(up.base_url, **FOLDS), tmp_path) as proxy,
    ):
        received = await call(proxy, "POST", CHAT, {**PLAIN, "temperature": 0.5}, X_Task_Id="t-1")
        await settled(proxy)
        kept = await record(proxy, "t-1")
    assert received.json() == expected
    assert (received.status, received.header("Content-Type")) == (200, "application/json")
    assert received.header("Content-Length") == str(len(received.body))
    assert received.header("Cache-Control") is None
    asked = {**PLAIN, "temperature": 0.5, "stream": True, "stream_options": {"include_usage": True}}
    assert up.requests[0].json() == asked
    assert (kept["outcome"], kept["usage_source"], kept["upstream_id"]) == ("completed", "upstream", expected["id"])
    assert kept["completion_tokens"] == expected["usage"]["completion_tokens"]


async def test_completions(tmp_path: Path) -> None:
    """Legacy completions are folded too."""
    async with (
        scripted_upstream(sse_stream(completion_events(4, usage=True))) as up,
        running_proxy(config_text(up.base_url, **FOLDS), tmp_path) as proxy,
    ):
        received = (await call(proxy, "POST", "/v1/completions", {"model": "scripted", "prompt": "x"})).json()
    assert (received["object"], received["usage"]) == ("text_completion", usage_object(7, 4))
    choice = received["choices"][0]
    assert (choice["text"], choice["finish_reason"], choice["logprobs"]) == (text(4), "stop", None)


async def test_a_streaming_call_is_no_different(tmp_path: Path) -> None:
    """Who asks for a stream on such a route gets it as it is; other endpoints are not touched either."""
    async with (
        scripted_upstream(sse_stream(chat_events(4, usage=True))) as up,
        running_proxy(config_text(up.base_url, **FOLDS), tmp_path) as proxy,
    ):
        assert (await call(proxy, "POST", CHAT, STREAM)).body == b"".join(chat_events(4, usage=True))
        up.script = answer(200, b'{"data": []}', JSON)
        assert (await call(proxy, "POST", "/v1/embeddings", {"model": "m", "input": "x"})).body == b'{"data": []}'
    assert up.requests[0].json() == STREAM
    assert up.requests[1].json() == {"model": "m", "input": "x"}


@pytest.mark.parametrize("status", [200, 400])
async def test_an_upstream_that_does_not_stream(tmp_path: Path, status: int) -> None:
    """A server that answers in one piece, be it with an error, is passed on as it is."""
    whole = chat_object(8) if status == 200 else {"error": {"message": "no streams"}}
    async with (
        scripted_upstream(json_answer(whole, status)) as up,
        running_proxy(config_text(up.base_url, **FOLDS), tmp_path) as proxy,
    ):
        received = await call(proxy, "POST", CHAT, PLAIN)
    assert (received.status, received.body) == (status, json.dumps(whole).encode())


def has_said(proxy: RunningProxy, characters: int) -> bool:
    """Whether so much text of the only generation has arrived."""
    (relay,) = proxy.app.engine.registry
    if relay.tee is not None:
        relay.tee.fold()
    return relay.generation.partial.characters == characters


MOMENTS: dict[str, tuple[Script, str, str]] = {
    "before the header": (hang(), "waiting", ""),
    "before the first token": (headers_then_hang(), "waiting", ""),
    "mid-way": (events_then_hang(SAID), "streaming", text(8)),
}


@pytest.mark.parametrize(("script", "phase", "partial"), MOMENTS.values(), ids=MOMENTS.keys())
async def test_stopped(tmp_path: Path, script: Script, phase: str, partial: str) -> None:
    """A stop closes the upstream at any time: 499 for the client, the partial in receipt and record."""
    async with (
        scripted_upstream(script) as up,
        running_proxy(config_text(up.base_url, **FOLDS), tmp_path) as proxy,
        RawClient(proxy.port) as client,
    ):
        await start(client, "t-1", PLAIN)
        conn = await up.conn()
        await eventually(lambda: has_said(proxy, len(partial)), what="the upstream has said it")
        receipt = (await stop(proxy, "t-1")).json()
        refused = await client.answer()
        await conn.wait_closed()
        kept = await record(proxy, "t-1")
    assert (refused.status, refused.header("x-should-retry")) == (499, "false")
    assert refused.json()["error"]["code"] == "generation_cancelled"
    when = "its answer was complete; its record has what is kept of it" if partial else "it produced an answer"
    assert refused.json()["error"]["message"] == f"The generation was cancelled before {when}."
    assert (receipt["result"], receipt["phase"], receipt["partial"]["text"]) == ("stopped", phase, partial)
    assert (kept["outcome"], kept["cause"], kept["text"]) == ("cancelled", "client", partial)
    assert bool(kept["completion_tokens"]) == bool(partial)
    assert not conn.closed_by_us


@pytest.mark.parametrize(("script", "phase", "partial"), MOMENTS.values(), ids=MOMENTS.keys())
async def test_the_client_leaves(tmp_path: Path, script: Script, phase: str, partial: str) -> None:
    """A client that leaves stops the upstream at once, which most servers don't do for a plain call."""
    async with (
        scripted_upstream(script) as up,
        running_proxy(config_text(up.base_url, **FOLDS), tmp_path) as proxy,
    ):
        async with RawClient(proxy.port) as client:
            await start(client, "t-1", PLAIN)
            conn = await up.conn()
            await eventually(lambda: has_said(proxy, len(partial)), what="the upstream has said it")
            left = time.perf_counter()
            client.fin()
            assert await conn.wait_closed() - left < 1
        await settled(proxy)
        kept = await record(proxy, "t-1")
    assert (kept["outcome"], kept["phase"], kept["text"]) == ("client_gone", phase, partial)


async def test_an_error_inside_the_stream(tmp_path: Path) -> None:
    """An error that the upstream reports in its stream is a 502 with its words, and the partial stays in the record."""
    events = [*SAID, sse({"error": {"message": "overloaded", "type": "server_error", "code": None}}), DONE]
    async with (
        scripted_upstream(sse_stream(events)) as up,
        running_proxy(config_text(up.base_url, **FOLDS), tmp_path) as proxy,
    ):
        refused = await call(proxy, "POST", CHAT, PLAIN, X_Task_Id="t-1")
        await settled(proxy)
        kept = await record(proxy, "t-1")
    assert (refused.status, refused.json()["error"]["code"]) == (502, "upstream_error")
    assert refused.json()["error"]["message"] == "The upstream reported an error: overloaded"
    assert refused.header("X-Task-Id") == "t-1"
    assert (kept["outcome"], kept["error_kind"], kept["text"]) == ("failed", "upstream_error", text(8))


async def test_observed(tmp_path: Path) -> None:
    """The folded answer is one event for observers, live and late."""
    async with (
        scripted_upstream(sse_stream(chat_events(8, usage=True), first_after=0.05)) as up,
        running_proxy(config_text(up.base_url, **FOLDS), tmp_path) as proxy,
        RawClient(proxy.port) as client,
        RawClient(proxy.port) as observer,
    ):
        await start(client, "t-1", PLAIN)
        await up.conn()
        await observer.get("/v1/generations/t-1/events")
        body = (await client.answer()).body
        live = (await observer.answer()).body
        await settled(proxy)
        late = (await call(proxy, "GET", "/v1/generations/t-1/events")).body
    assert live == late == b"id: 1\ndata: %b\n\n" % body
