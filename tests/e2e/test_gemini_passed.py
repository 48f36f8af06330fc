"""Gemini's API behind an `openai` route: what passes, what is kept of it, and how a stopped stream ends."""

import json
from pathlib import Path
from typing import Any

import pytest

from proxy.core.sse import events
from support.chat import text
from support.client import Answer, RawClient
from support.gemini import (
    BODY,
    ID,
    MODEL,
    PLAIN,
    STREAM,
    answer,
    answer_events,
    answers,
    served,
    sse,
    usage,
    whole,
)
from support.http_bytes import Headers
from support.proxy import RunningProxy
from support.scripts import JSON, cut_at, events_then_hang, hang, json_answer, sse_stream
from support.stops import Ask, call, record, settled, stop
from support.wait import eventually

SSE = f"{STREAM}?alt=sse"
NAMED: Headers = [("X-Task-Id", "t-1")]
ALL: dict[str, Any] = {"ledger": {"text": "all"}}


def read(answer: Answer) -> list[dict[str, Any]]:
    """The answers of a stream, as Google's clients read it: every line that is not empty is `data: ` and JSON."""
    lines = [line for line in answer.body.decode().splitlines() if line]
    assert all(line.startswith("data: ") for line in lines)
    return [json.loads(line.removeprefix("data: ")) for line in lines]


def said(found: list[dict[str, Any]]) -> str:
    """The text of a stream's answers."""
    return "".join(part["text"] for each in found for part in each["candidates"][0]["content"]["parts"])


async def test_streaming(tmp_path: Path) -> None:
    """A stream passes byte for byte; text, counts and names are in the record."""
    async with served(sse_stream(answer_events(5)), tmp_path, **ALL) as (proxy, up):
        received = await call(proxy, "POST", SSE, BODY, X_Task_Id="t-1")
        await settled(proxy)
        kept = await record(proxy, "t-1")
    assert received.body == b"".join(answer_events(5))
    assert (up.requests[0].target, up.requests[0].json()) == (SSE, BODY)
    assert (kept["outcome"], kept["usage_source"], kept["text"]) == ("completed", "upstream", text(5))
    assert (kept["prompt_tokens"], kept["completion_tokens"]) == (7, 5)
    assert (kept["model"], kept["upstream_model"], kept["upstream_id"]) == (MODEL, f"{MODEL}-001", ID)
    assert kept["dialect"] == "openai"


async def test_not_streaming(tmp_path: Path) -> None:
    """A plain answer is the upstream's, with its counts in the record; a refused prompt is a whole answer."""
    blocked = {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": usage()}
    async with served(json_answer(whole(5)), tmp_path, **ALL) as (proxy, up):
        assert (await call(proxy, "POST", PLAIN, BODY, X_Task_Id="t-1")).json() == whole(5)
        up.script = json_answer(blocked)
        await call(proxy, "POST", PLAIN, BODY, X_Task_Id="t-2")
        await settled(proxy)
        kept, other = await record(proxy, "t-1"), await record(proxy, "t-2")
    assert (kept["outcome"], kept["text"], kept["completion_tokens"]) == ("completed", text(5), 5)
    assert (other["outcome"], other["prompt_tokens"], other["completion_tokens"]) == ("completed", 7, 0)


@pytest.mark.parametrize("any_id", ["t-1", ID])
@pytest.mark.parametrize(("reason", "word"), [("stop", "STOP"), ("cancelled", "OTHER")])
async def test_stopped(tmp_path: Path, any_id: str, reason: str, word: str) -> None:
    """A stop by either id ends the stream with a last answer, and the upstream's last counts are the bill."""
    config = {"cancellation": {"finish_reason": reason}}
    script = events_then_hang(answer_events(8)[:4])
    async with served(script, tmp_path, **config) as (proxy, up), RawClient(proxy.port) as client:
        await client.post(SSE, BODY, NAMED)
        await client.until(b"night ")
        receipt = (await stop(proxy, any_id)).json()
        received = await client.answer()
        await up.no_connections()
        kept = await record(proxy, "t-1")
    found = read(received)
    assert (received.complete, said(found)) == (True, text(4))
    last = found[-1]["candidates"][0]
    assert (last["finishReason"], last["finishMessage"]) == (word, "quell: task_id=t-1 cause=client")
    assert found[-1]["usageMetadata"] == {
        "promptTokenCount": 7,
        "candidatesTokenCount": 4,
        "totalTokenCount": 11,
    }
    assert (receipt["result"], kept["completion_tokens"], kept["usage_source"]) == ("stopped", 4, "upstream_running")


async def test_stopped_where_the_upstream_has_counted_the_prompt_alone(tmp_path: Path) -> None:
    """The prompt is the upstream's count, the text is counted here, and the source says so."""
    script = events_then_hang([sse(answer({"text": text(8)}, counts=usage(70)))])
    async with served(script, tmp_path) as (proxy, _), RawClient(proxy.port) as client:
        await client.post(SSE, BODY, NAMED)
        await client.until(b"all ")
        await stop(proxy, "t-1")
        kept = await record(proxy, "t-1")
    assert (kept["prompt_tokens"], kept["completion_tokens"] > 5, kept["usage_source"]) == (70, True, "tokenizer")


async def test_stopped_before_the_header(tmp_path: Path) -> None:
    """A stop before anything came is Google's error object, which says CANCELLED; the prompt is counted."""
    async with served(hang(), tmp_path) as (proxy, up), RawClient(proxy.port) as client:
        await client.post(SSE, {**BODY, "systemInstruction": {"parts": [{"text": "Be brief."}]}}, NAMED)
        await up.conn()
        await stop(proxy, "t-1")
        refused = await client.answer()
        kept = await record(proxy, "t-1")
    assert (refused.status, refused.header("x-should-retry")) == (499, "false")
    assert (refused.json()["error"]["code"], refused.json()["error"]["status"]) == (499, "CANCELLED")
    assert kept["prompt_tokens"] > 8


async def test_the_client_leaves(tmp_path: Path) -> None:
    """A client that leaves stops the upstream at once; the bill is the last total that it sent."""
    async with served(events_then_hang(answer_events(8)[:2]), tmp_path) as (proxy, up):
        async with RawClient(proxy.port) as client:
            await client.post(SSE, BODY, NAMED)
            await client.until(b"fell ")
            client.fin()
            await up.no_connections()
        await settled(proxy)
        kept = await record(proxy, "t-1")
    assert (kept["outcome"], kept["completion_tokens"], kept["usage_source"]) == ("client_gone", 2, "upstream_running")


@pytest.mark.parametrize("bare", [True, False])
async def test_an_error_in_the_stream(tmp_path: Path, *, bare: bool) -> None:
    """An error within the stream passes as it came, as an event or as bare JSON, and the generation has failed."""
    error = {"error": {"code": 503, "message": "Overloaded.", "status": "UNAVAILABLE"}}
    last = json.dumps(error, indent=2).encode() if bare else sse(error)
    sent = [*answer_events(8)[:2], last]
    async with served(sse_stream(sent), tmp_path, **ALL) as (proxy, _):
        received = await call(proxy, "POST", SSE, BODY, X_Task_Id="t-1")
        await settled(proxy)
        kept = await record(proxy, "t-1")
    assert received.body == b"".join(sent)
    assert (kept["outcome"], kept["error_kind"], kept["text"]) == ("failed", "upstream_error", text(2))


async def test_what_breaks_on_the_way(tmp_path: Path) -> None:
    """A stream whose upstream falls silent ends with Google's error object."""
    upstream = {"timeouts": {"idle": "300ms"}}
    async with served(events_then_hang(answer_events(8)[:2]), tmp_path, upstream=upstream) as (proxy, _):
        received = await call(proxy, "POST", SSE, BODY)
    assert json.loads(events(received.body)[-1].data)["error"]["status"] == "DEADLINE_EXCEEDED"


ARRAY = json.dumps(answers(4)).encode()


async def test_an_array_instead_of_events(tmp_path: Path) -> None:
    """Without `alt=sse` a stream is one JSON array, passed on as it is and folded when it is whole."""
    async with served(cut_at(ARRAY, len(ARRAY), "end", headers=JSON), tmp_path, **ALL) as (proxy, _):
        received = await call(proxy, "POST", STREAM, BODY, X_Task_Id="t-1")
        await settled(proxy)
        kept = await record(proxy, "t-1")
    assert received.body == ARRAY
    assert (kept["outcome"], kept["text"], kept["completion_tokens"]) == ("completed", text(4), 4)


async def test_a_stopped_array(tmp_path: Path) -> None:
    """A stop before the array is whole is a 499; what had come of it is kept and billed."""
    at = ARRAY.index(b"night")
    async with served(cut_at(ARRAY, at, "hang", headers=JSON), tmp_path) as (proxy, _), RawClient(proxy.port) as client:
        await client.post(STREAM, BODY, NAMED)
        await eventually(lambda: streaming(proxy), what="the array has begun")
        await stop(proxy, "t-1")
        refused = await client.answer()
        kept = await record(proxy, "t-1")
    assert (refused.status, refused.json()["error"]["status"]) == (499, "CANCELLED")
    assert (kept["outcome"], kept["text"], kept["completion_tokens"]) == ("cancelled", text(3), 3)


def streaming(proxy: RunningProxy) -> bool:
    """Whether the body of the only generation has begun to come."""
    return any(relay.generation.first_token is not None for relay in proxy.app.engine.registry)


async def test_the_rest_of_the_api(tmp_path: Path) -> None:
    """Other calls are passed on and leave no record; a call in another spelling reaches nobody."""
    async with served(json_answer({"totalTokens": 7}), tmp_path) as (proxy, up):
        count = await call(proxy, "POST", f"/v1/models/{MODEL}:countTokens", BODY)
        await call(proxy, "GET", "/v1/models?pageSize=5")
        refused = await call(proxy, "POST", f"/v1/models/{MODEL}:GenerateContent", BODY)
        assert (await call(proxy, "GET", "/v1/generations")).json()["data"] == []
    assert count.json() == {"totalTokens": 7}
    assert (refused.status, refused.json()["error"]["status"]) == (404, "NOT_FOUND")
    assert [each.target for each in up.requests] == [f"/v1/models/{MODEL}:countTokens", "/v1/models?pageSize=5"]


async def test_credentials(tmp_path: Path) -> None:
    """A caller is known by Google's header too: others stop nothing, and a configured key takes its place."""
    mine, other = [("x-goog-api-key", "mine")], [("x-goog-api-key", "other")]
    upstream = {"api_key": "k"}
    async with served(events_then_hang(answer_events(8)[:2]), tmp_path, upstream=upstream) as (proxy, up):
        async with RawClient(proxy.port) as client, RawClient(proxy.port) as stranger:
            await client.post(SSE, BODY, [*NAMED, *mine])
            await client.until(b"fell ")
            await stranger.post("/v1/generations/t-1/cancel", b"", other)
            assert (await stranger.answer()).status == 404
            assert (await stop(proxy, "t-1", Ask("mine"))).json()["result"] == "stopped"
    sent = [value for name, value in up.requests[0].headers if name.lower() == "x-goog-api-key"]
    assert sent == ["k"]
