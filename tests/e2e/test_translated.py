"""What every translated dialect gets from the engine, shown with Dify's completion app."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from dialects.drivers.base import names, read_events
from support.chat import chat_events, chat_object, text
from support.client import Answer, RawClient
from support.http_bytes import header
from support.program import config_text
from support.proxy import RunningProxy, running_proxy
from support.scripts import events_then_hang, json_answer, sse_stream
from support.stops import Ask, call, record, settled, stop
from support.upstream import Conn, scripted_upstream
from support.wait import eventually

ROUTE = {"dialect": "dify", "model": "scripted"}
EVENTS = chat_events(4, usage=True)


def asked(**fields: Any) -> dict[str, Any]:
    """A streaming call."""
    return {"inputs": {}, "query": "Tell me.", "user": "ann", "response_mode": "streaming"} | fields


async def complete(proxy: RunningProxy, ask: Ask, body: Any = None, **headers: str) -> Answer:
    """A call of the completion app, read to its end."""
    return await call(proxy, "POST", "/v1/completion-messages", asked() if body is None else body, ask, **headers)


async def test_the_upstreams_request_is_ours(tmp_path: Path) -> None:
    """Nothing of the client's request goes up but what the dialect makes of it, and its credential as a bearer's."""
    async with (
        scripted_upstream(sse_stream(EVENTS)) as up,
        running_proxy(config_text(up.base_url, route=ROUTE), tmp_path) as proxy,
        RawClient(proxy.port) as client,
    ):
        headers = [("X-API-Key", "sk-1"), ("X-Secret", "s"), ("Accept-Encoding", "gzip"), ("Cookie", "a=b")]
        await client.post("/v1/completion-messages", asked(), headers)
        assert (await client.answer()).status == 200
        request = (await up.conn()).request
    assert (request.target, header(request.headers, "authorization")) == ("/v1/chat/completions", "Bearer sk-1")
    assert header(request.headers, "accept-encoding") == "identity"
    sent = {name.lower() for name, _ in request.headers}
    assert sent.isdisjoint({"x-secret", "cookie", "x-api-key"})
    body = json.loads(request.body)
    assert (body["model"], body["stream"], body["user"]) == ("scripted", True, "ann")
    assert body["messages"] == [{"role": "user", "content": "Tell me."}]


async def test_a_configured_key_stands_in(tmp_path: Path) -> None:
    """With a configured key the caller's credential stays here."""
    async with (
        scripted_upstream(sse_stream(EVENTS)) as up,
        running_proxy(config_text(up.base_url, route=ROUTE, upstream={"api_key": "sk-ours"}), tmp_path) as proxy,
    ):
        assert (await complete(proxy, Ask("sk-theirs"))).status == 200
        request = (await up.conn()).request
    assert header(request.headers, "authorization") == "Bearer sk-ours"


async def test_an_answer_that_is_no_stream(tmp_path: Path) -> None:
    """An upstream that does not stream although it was asked to is translated all the same."""
    async with (
        scripted_upstream(json_answer(chat_object(4))) as up,
        running_proxy(config_text(up.base_url, route=ROUTE), tmp_path) as proxy,
    ):
        events = read_events((await complete(proxy, Ask())).body)
    assert names(events) == "message message_end "
    assert events[0].data["answer"] == text(4)
    assert events[1].data["metadata"]["usage"]["completion_tokens"] == 4


@pytest.mark.parametrize("coding", ["gzip", "br"])
async def test_a_compressed_stream(tmp_path: Path, coding: str) -> None:
    """A stream that is compressed although nobody asked for it is read, or refused where it can't be."""

    async def script(conn: Conn) -> None:
        await conn.head(200, [("Content-Type", "text/event-stream"), ("Content-Encoding", coding)])
        await conn.chunk(gzip.compress(b"".join(EVENTS)))
        await conn.end()

    async with (
        scripted_upstream(script) as up,
        running_proxy(config_text(up.base_url, route=ROUTE), tmp_path) as proxy,
    ):
        answer = await complete(proxy, Ask())
    if coding == "gzip":
        assert names(read_events(answer.body)) == "message message message message message_end "
    else:
        assert answer.json()["code"] == "completion_request_error"


async def test_a_blocking_call_is_stopped(tmp_path: Path) -> None:
    """A blocking call streams upstream, so a stop by its chosen id ends it, and its partial is kept."""
    async with (
        scripted_upstream(events_then_hang(EVENTS[:4])) as up,
        running_proxy(config_text(up.base_url, route=ROUTE), tmp_path) as proxy,
        RawClient(proxy.port) as client,
    ):
        body = asked(response_mode="blocking")
        await client.post("/v1/completion-messages", body, [("X-Task-Id", "t-1")])

        async def began() -> bool:
            found = await call(proxy, "GET", "/v1/generations/t-1")
            return found.status == 200 and found.json()["characters"] == len(text(3))

        await eventually(began)
        receipt = (await stop(proxy, "t-1")).json()
        answer = await client.answer()
        await up.no_connections()
    assert (receipt["result"], receipt["partial"]["text"]) == ("stopped", text(3))
    assert (answer.status, answer.header("x-should-retry")) == (499, "false")


async def test_a_client_that_leaves(tmp_path: Path) -> None:
    """A client that leaves closes the upstream, as the route says, also while the upstream is silent."""
    async with (
        scripted_upstream(events_then_hang(EVENTS[:2])) as up,
        running_proxy(config_text(up.base_url, route=ROUTE), tmp_path) as proxy,
        RawClient(proxy.port) as client,
    ):
        await client.post("/v1/completion-messages", asked(), [("X-Task-Id", "t-1")])
        await client.until(b"Rain ")
        client.fin()
        await up.no_connections()
        await settled(proxy)
        assert (await record(proxy, "t-1"))["outcome"] == "client_gone"


async def test_events_again(tmp_path: Path) -> None:
    """The native events are the dialect's own, from the start, each with its number."""
    async with (
        scripted_upstream(sse_stream(EVENTS)) as up,
        running_proxy(config_text(up.base_url, route=ROUTE), tmp_path) as proxy,
    ):
        answer = await complete(proxy, Ask(), X_Task_Id="t-1")
        again = await call(proxy, "GET", "/v1/generations/t-1/events")
    assert read_events(again.body) == read_events(answer.body)
    assert again.body.startswith(b"id: 1\ndata: ")


async def test_a_wrong_key_in_the_dialects_words(tmp_path: Path) -> None:
    """Where keys are configured, a caller without one gets the dialect's own 401."""
    digest = "0" * 64
    config = config_text("http://127.0.0.1:9/v1", route=ROUTE, keys=[{"id": "acme", "hash": digest}])
    async with running_proxy(config, tmp_path) as proxy:
        answer = await complete(proxy, Ask("sk-wrong"))
    assert (answer.status, answer.json()["code"]) == (401, "unauthorized")
    assert answer.header("WWW-Authenticate") == 'Bearer realm="api"'
