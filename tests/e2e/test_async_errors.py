"""Async messages when something is wrong: the upstream's troubles in the stream, bad requests, bad credentials."""

import hashlib
import json
import random
from pathlib import Path
from typing import Any

import pytest

from support.async_messages import BODY, initiate, send, served, status, stream, text_of, told
from support.chat import chat_events, sse
from support.scripts import answer, cut_at, hang, json_answer, raw_bytes, sse_stream
from support.stops import Ask
from support.upstream import Script

SAID = chat_events(8)[:-2]
RATE_LIMITED = json_answer({"error": {"message": "Slow down."}}, 429)


@pytest.mark.parametrize(
    ("script", "kind", "code", "words"),
    [
        (json_answer({"error": {"message": "Bad key."}}, 401), "authentication_error", "rejected_upstream", "Bad key."),
        (RATE_LIMITED, "rate_limit_error", "rejected_upstream", "Slow down."),
        (answer(503), "overloaded_error", "upstream_error", "503"),
        (raw_bytes(b"", then="fin"), "api_error", "upstream_reset", "broke"),
        (sse_stream([*SAID, sse({"error": {"message": "Out of memory."}})]), "api_error", "upstream_error", "memory"),
        (cut_at(b"".join(SAID), len(b"".join(SAID)), "end"), "api_error", "upstream_truncated", "complete"),
        (cut_at(b"".join(SAID), len(b"".join(SAID)), "fin"), "api_error", "upstream_truncated", "complete"),
    ],
)
async def test_upstream_trouble(tmp_path: Path, script: Script, kind: str, code: str, words: str) -> None:
    """What goes wrong upstream ends the stream with an `error` event, and is the message's status."""
    async with served(script, tmp_path) as (proxy, _):
        await initiate(proxy)
        said = await stream(proxy)
        told_by_status = await status(proxy)
    error = told(said)[-1]
    assert (error["type"], error["error"]["type"], error["request_id"]) == ("error", kind, "m-1")
    assert error["error"]["detail"]["code"] == code
    assert words in error["error"]["message"]
    assert [each["type"] for each in told(said)].count("error") == 1
    assert "message_stop" not in [each["type"] for each in told(said)]
    assert (told_by_status["status"], told_by_status["error_message"]) == ("error", error["error"]["message"])
    assert told_by_status["completed_at"] is not None


async def test_deadline(tmp_path: Path) -> None:
    """An upstream that falls silent is a timeout error, with the text until then."""
    script = sse_stream(SAID, then="hang")
    async with served(script, tmp_path, upstream={"timeouts": {"idle": "300ms"}}) as (proxy, _):
        await initiate(proxy)
        said = await stream(proxy)
    assert told(said)[-1]["error"]["type"] == "timeout_error"
    assert text_of(said)


async def test_unreachable(tmp_path: Path) -> None:
    """An upstream that refuses the connection is an error of the stream: its start was answered already."""
    async with served(hang(), tmp_path, upstream={"base_url": "http://127.0.0.1:9/v1"}) as (proxy, _):
        await initiate(proxy)
        assert told(await stream(proxy))[-1]["error"]["detail"]["code"] == "upstream_unreachable"


@pytest.mark.parametrize(
    ("body", "where"),
    [
        (b"", ["body"]),
        (b"{", ["body"]),
        (b"[]", ["body"]),
        (b'{"model": "m", "model": "m"}', ["body"]),
        ({}, ["body", "messages"]),
        ({**BODY, "messages": [{"role": "user", "content": [{"type": "x"}]}]}, ["body", "messages", 0, "content", 0]),
    ],
)
async def test_bad_bodies(tmp_path: Path, body: Any, where: list[Any]) -> None:
    """A body that can't be understood is a 422 of both shapes, and no generation."""
    async with served(hang(), tmp_path) as (proxy, up):
        refused = await send(proxy, "POST", "?message_id=m-1", body)
        assert (await send(proxy, "GET", "/m-1/status")).status == 404
        assert up.opened == 0
    assert refused.status == 422
    assert refused.json()["detail"][0]["loc"][: len(where)] == where
    assert refused.json()["error"]["type"] == "invalid_request_error"


async def test_random_bodies(tmp_path: Path) -> None:
    """Whatever JSON comes, the answer is a start or an error of the API's shape, never a 500."""
    chance = random.Random(7)
    names = ["model", "messages", "system", "tools", "tool_choice", "metadata", "thinking", "max_tokens", "role"]
    names += ["content", "type", "text", "source", "stop_sequences", "output_config", "format", "stream", "input"]

    def value(depth: int) -> Any:
        if depth > 3 or chance.random() < 0.4:
            return chance.choice([None, True, 0, -1, 1.5, "", "user", "text", "image", "\ud800", [], {}])
        if chance.random() < 0.5:
            return [value(depth + 1) for _ in range(chance.randrange(3))]
        return {name: value(depth + 1) for name in chance.sample(names, chance.randrange(6))}

    async with served(sse_stream(chat_events(1)), tmp_path) as (proxy, _):
        for _ in range(300):
            body = {**BODY, **{name: value(0) for name in chance.sample(names, 2)}}
            got = await send(proxy, "POST", "", body)
            assert got.status in {200, 422}, (body, got.body)
            assert got.status == 200 or got.json()["type"] == "error"


async def test_other_paths(tmp_path: Path) -> None:
    """What is not of the API is 404 or 405 in its shape; nothing of it reaches the upstream."""
    async with served(hang(), tmp_path) as (proxy, up):
        for method, path, code in [
            ("GET", "", 405),
            ("POST", "/m-1/stream", 405),
            ("GET", "/m-1/cancel", 405),
            ("POST", "/m-1/delete", 405),
            ("GET", "/m-1", 405),
            ("POST", "/m-1/pause", 404),
            ("GET", "/m-1/stream/more", 404),
            ("POST", "/", 404),
        ]:
            got = await send(proxy, method, path)
            assert (got.status, got.json()["type"]) == (code, "error"), path
            assert code == 404 or got.header("Allow")
        assert up.opened == 0


async def test_keys(tmp_path: Path) -> None:
    """With keys, a caller without one gets 401 in the API's words, and one over its limit 429."""
    digest = hashlib.sha256(b"sk-ann").hexdigest()
    keys = [{"id": "ann", "hash": digest, "limits": {"streams": 1}}]
    async with served(hang(), tmp_path, keys=keys) as (proxy, _):
        refused = await send(proxy, "POST", "", BODY, Ask("wrong"))
        await initiate(proxy, ask=Ask("sk-ann"))
        many = await send(proxy, "POST", "", BODY, Ask("sk-ann"))
    assert (refused.status, refused.json()["detail"]) == (401, "Not authenticated")
    assert refused.json()["error"]["type"] == "authentication_error"
    assert (refused.header("WWW-Authenticate") or "").startswith("Basic")
    assert (many.status, many.json()["error"]["type"]) == (429, "rate_limit_error")
    assert many.header("Retry-After")
    assert json.loads(many.body)["type"] == "error"
