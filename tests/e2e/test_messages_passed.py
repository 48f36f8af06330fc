"""Anthropic's Messages API behind the proxy, byte by byte: what goes up, what comes down, and who serves what."""

import json
from pathlib import Path
from typing import Any

import pytest

from proxy.core.sse import events
from support.chat import chat_events
from support.client import RawClient
from support.faults import Pieces
from support.messages import BODY, ID, MESSAGES, begun_events, end, message_events, served, start, text_block, whole
from support.program import config_text
from support.proxy import running_proxy
from support.recordings import recorded
from support.scripts import by_path, events_then_hang, json_answer, sse_stream
from support.stops import CHAT, STREAM, Ask, call, record, settled, stop
from support.upstream import Conn, scripted_upstream

ALL: dict[str, Any] = {"ledger": {"text": "all"}}


@pytest.mark.parametrize("body", [recorded("llama-messages"), b"".join(message_events(5)).replace(b"\n", b"\r\n")])
async def test_streams_pass_byte_for_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: bytes) -> None:
    """However a stream is cut, the client gets its bytes, and the record its text and counts."""
    pieces = Pieces(monkeypatch)

    async def script(conn: Conn) -> None:
        await conn.head(200, [("Content-Type", "text/event-stream")])
        at = cuts[len(up.conns) - 1]
        await pieces.send(conn, body[:at], body[at:])
        await conn.end()

    cuts = range(1, len(body), max(len(body) // 40, 1))
    async with served(script, tmp_path, **ALL) as (proxy, up):
        seen = set()
        for number in range(len(cuts)):
            received = await call(proxy, "POST", MESSAGES, BODY, X_Task_Id=f"t-{number}")
            assert received.body == body
            await settled(proxy)
            kept = await record(proxy, f"t-{number}")
            seen.add((kept["outcome"], kept["text"], kept["prompt_tokens"], kept["cached_tokens"]))
    assert len(seen) == 1
    assert seen.pop()[0] == "completed"


async def test_what_a_stop_adds(tmp_path: Path) -> None:
    """A stopped stream is what had come, and then a comment and the proper end, with nothing between."""
    said = b"".join(begun_events(3))
    async with served(events_then_hang([said]), tmp_path) as (proxy, _), RawClient(proxy.port) as client:
        await client.post(MESSAGES, BODY, [("X-Task-Id", "t-1")])
        await client.until(b"all ")
        await stop(proxy, "t-1")
        answer = await client.answer()
    assert answer.complete
    assert answer.body.startswith(said + b": quell: task_id=t-1 cause=client\n\nevent: content_block_stop\n")
    assert [each.type for each in events(answer.body)[-3:]] == ["content_block_stop", "message_delta", "message_stop"]


async def test_a_stop_within_an_event(tmp_path: Path) -> None:
    """Half an event never reaches the client, stopped or not."""
    half = begun_events(1)[-1][:-9]
    async with served(events_then_hang([*begun_events(2), half]), tmp_path) as (proxy, _):
        async with RawClient(proxy.port) as client:
            await client.post(MESSAGES, BODY, [("X-Task-Id", "t-1")])
            await client.until(b"fell ")
            await stop(proxy, "t-1")
            body = (await client.answer()).body
    assert [json.loads(each.data)["type"] for each in events(body)].count("content_block_delta") == 2
    assert body.startswith(b"".join(begun_events(2)) + b": quell")


async def test_a_stream_that_was_over_before_its_end(tmp_path: Path) -> None:
    """A stop behind the reason to finish finds a complete answer: the missing end is added, the bill is final."""
    said = [start(), *text_block(3), end(3)[0]]
    async with served(events_then_hang(said), tmp_path, **ALL) as (proxy, _), RawClient(proxy.port) as client:
        await client.post(MESSAGES, BODY, [("X-Task-Id", "t-1")])
        await client.until(b"end_turn")
        await stop(proxy, "t-1")
        body = (await client.answer()).body
        kept = await record(proxy, "t-1")
    assert [each.type for each in events(body)][-2:] == ["message_delta", "message_stop"]
    assert (kept["outcome"], kept["completion_tokens"], kept["usage_source"]) == ("completed", 3, "upstream")


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"cache_read_input_tokens": 100, "cache_creation_input_tokens": 20}, (127, 100)),
        ({"input_tokens": 0}, None),
    ],
)
async def test_the_prompt_of_a_stopped_stream(tmp_path: Path, usage: dict[str, Any], expected: Any) -> None:
    """The upstream's count of the prompt stands, with what was cached; where it has none, the prompt is counted."""
    said = [start(**usage), *text_block(3, stop=False)]
    async with served(events_then_hang(said), tmp_path) as (proxy, _), RawClient(proxy.port) as client:
        await client.post(MESSAGES, {**BODY, "system": 50 * "brief "}, [("X-Task-Id", "t-1")])
        await client.until(b"all ")
        receipt = (await stop(proxy, "t-1")).json()
        kept = await record(proxy, "t-1")
    assert receipt["usage"]["source"] == kept["usage_source"] == "tokenizer"
    if expected:
        assert (kept["prompt_tokens"], kept["cached_tokens"]) == expected
    else:
        assert kept["prompt_tokens"] > 50  # the words of the system prompt are among them


async def test_one_upstream_that_speaks_both(tmp_path: Path) -> None:
    """On a route of both dialects each call is its own API's; what neither knows is passed on."""
    script = by_path(
        {
            "/v1/messages": json_answer(whole(3)),
            "/v1/chat/completions": sse_stream(chat_events(3)),
            "/v1/models": json_answer({"data": []}),
        }
    )
    route = {"dialect": ["anthropic", "openai"]}
    async with scripted_upstream(script) as up:
        async with running_proxy(config_text(up.base_url, route=route), tmp_path) as proxy:
            await call(proxy, "POST", MESSAGES, {**BODY, "stream": False}, X_Task_Id="m")
            await call(proxy, "POST", CHAT, STREAM, X_Task_Id="c")
            assert (await call(proxy, "GET", "/v1/models")).json() == {"data": []}
            await settled(proxy)
            kept = [(await record(proxy, each))["dialect"] for each in ("m", "c")]
            refused = [(await call(proxy, "POST", path, b"[]")).json() for path in (MESSAGES, CHAT)]
            missed = [
                (await call(proxy, "POST", path)).json()
                for path in ("/v1/messages/x/cancel", "/v1/chat/completions/x/cancel")
            ]
    assert kept == ["anthropic", "openai"]
    for mine, theirs in (refused, missed):
        assert (mine["type"], "type" in theirs) == ("error", False)


@pytest.mark.parametrize(
    ("wire_format", "name", "value"), [("anthropic", "x-api-key", "k"), ("openai", "authorization", "Bearer k")]
)
async def test_the_configured_key(tmp_path: Path, wire_format: str, name: str, value: str) -> None:
    """A configured key goes up as the upstream's format has it, and the caller's own does not."""
    upstream = {"format": wire_format, "api_key": "k"}
    async with served(json_answer(whole(1)), tmp_path, upstream=upstream) as (proxy, up):
        await call(proxy, "POST", MESSAGES, {**BODY, "stream": False}, Ask("mine"))
    sent = {key.lower(): found for key, found in up.requests[0].headers}
    assert sent[name] == value
    assert "Bearer mine" not in sent.values()


async def test_observed_again(tmp_path: Path) -> None:
    """A stopped stream can be read again: the upstream's events and ours, numbered."""
    async with served(events_then_hang(begun_events(2)), tmp_path) as (proxy, _), RawClient(proxy.port) as client:
        await client.post(MESSAGES, BODY, [("X-Task-Id", "t-1")])
        await client.until(b"fell ")
        await stop(proxy, ID)
        first = events((await client.answer()).body)
        again = events((await call(proxy, "GET", "/v1/generations/t-1/events")).body)
    assert [(each.type, each.data) for each in again] == [(each.type, each.data) for each in first]
    assert [each.id for each in again] == [str(number) for number in range(1, len(first) + 1)]
