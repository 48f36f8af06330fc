"""Dify's create endpoints through the whole proxy: streaming, blocking, and everything that can go wrong."""

import json
from pathlib import Path
from typing import Any

import pytest

from proxy.dialects.dify.translation import MessageTranslation
from proxy.dialects.dify.workflow import WorkflowTranslation
from proxy.engine.translating.translation import KeepAlive
from support.chat import DONE, chat_events, sse, text
from support.client import RawClient
from support.dify import PING, begin, body, error_of, said, send, served, text_of
from support.proxy import RunningProxy
from support.scripts import answer, events_then_hang, hang, headers_then_hang, json_answer, sse_stream
from support.stops import Ask, record
from support.upstream import Script
from support.wait import eventually

PATHS = ("/completion-messages", "/chat-messages", "/workflows/run")
SAID = chat_events(8)[:-2]
"""A stream that is not over: role and eight words, no finish reason."""


async def living(proxy: RunningProxy, number: int) -> None:
    """Wait until so many generations live."""
    await eventually(lambda: len(proxy.app.engine.registry) == number, what=f"{number} generations live")


@pytest.mark.parametrize("path", PATHS)
async def test_streaming(tmp_path: Path, path: str) -> None:
    """A stream has one event for each piece of text, one end, the ids of the headers, and Dify's framing."""
    async with served(sse_stream(chat_events(5, usage=True)), tmp_path, upstream={"usage": "final"}) as (proxy, up):
        got = await send(proxy, "POST", path, body(inputs={"query": "Tell me."}))
        kept = await record(proxy, got.header("X-Task-Id") or "")
    events = said(got)
    assert got.complete
    assert (got.status, got.header("Content-Type")) == (200, "text/event-stream")
    assert text_of(events) == text(5)
    assert {event["task_id"] for event in events} == {got.header("X-Task-Id")}
    assert len([event for event in events if event["event"] in {"message", "text_chunk"}]) == 5
    assert [event["event"] for event in events].count("message_end") == (path != "/workflows/run")
    end = events[-1].get("metadata", {}).get("usage", events[-1].get("data"))
    assert end["total_tokens"] == 12
    assert (kept["outcome"], kept["dialect"], kept["user"], kept["model"]) == ("completed", "dify", "ann", "scripted")
    assert kept["message_id"] == got.header("X-Message-Id")
    sent = up.requests[0].json()
    assert (sent["model"], sent["stream"], sent["stream_options"]) == ("scripted", True, {"include_usage": True})
    assert sent["messages"] == [{"role": "user", "content": "Tell me."}]


@pytest.mark.parametrize("path", PATHS)
async def test_blocking(tmp_path: Path, path: str) -> None:
    """A blocking call is streamed upstream and answered in one piece, without a usage chunk too."""
    async with served(sse_stream(chat_events(5)), tmp_path) as (proxy, up):
        got = await send(proxy, "POST", path, body(response_mode="blocking", inputs={"query": "Tell me."}))
    assert (got.status, got.header("Content-Type")) == (200, "application/json")
    assert up.requests[0].json()["stream"] is True
    found = got.json()
    assert found["task_id"] == got.header("X-Task-Id")
    if path == "/workflows/run":
        assert found["workflow_run_id"] == got.header("X-Message-Id")
        assert (found["data"]["status"], found["data"]["outputs"]) == ("succeeded", {"text": text(5)})
    else:
        assert found["message_id"] == found["id"] == got.header("X-Message-Id")
        assert (found["event"], found["answer"]) == ("message", text(5))
        assert found["metadata"]["usage"]["completion_tokens"] > 0
        assert found["mode"] == path[1:].partition("-")[0]
        assert ("conversation_id" in found) == (path == "/chat-messages")


@pytest.mark.parametrize("path", PATHS)
async def test_images_and_templates_go_upstream(tmp_path: Path, path: str) -> None:
    """What the upstream is asked has the route's templates filled in, and the images beside the text."""
    route = {
        "system": "Answer in {{language}}.",
        "prompt": "Q: {{query}}",
        "inputs": {"language": {"required": True}, "query": {}},
    }
    image = {"type": "image", "transfer_method": "remote_url", "url": "https://example.com/cat.png"}
    async with served(sse_stream(chat_events(2)), tmp_path, route=route) as (proxy, up):
        inputs = {"language": "French", "query": "What is it?", "more": {}}
        await send(proxy, "POST", path, body("What is it?", inputs=inputs, files=[image]))
        missing = await send(proxy, "POST", path, body(inputs={}))
        local = {"type": "image", "transfer_method": "local_file", "upload_file_id": "f"}
        refused = await send(proxy, "POST", path, body(inputs=inputs, files=[local]))
    assert up.requests[0].json()["messages"] == [
        {"role": "system", "content": "Answer in French."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Q: What is it?"},
                {"type": "image_url", "image_url": {"url": image["url"]}},
            ],
        },
    ]
    assert error_of(missing) == (400, "invalid_param", "language")
    assert error_of(refused) == (400, "invalid_param", "files[0].transfer_method")
    assert len(up.requests) == 1


async def test_pings_also_before_the_first_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that waits gets the stream's header and pings although the upstream has not answered at all."""
    monkeypatch.setattr(MessageTranslation, "keep_alive", KeepAlive(0.05, PING, idle=False))
    async with served(hang(), tmp_path, ledger={"flush": "50ms"}) as (proxy, _), RawClient(proxy.port) as client:
        await begin(client, "/completion-messages", body(), "t-1")
        await client.until(PING, 2)
        await send(proxy, "POST", "/completion-messages/t-1/stop", {"user": "ann"})
        got = await client.answer()
    assert got.header("X-Task-Id") == "t-1"
    assert got.body.startswith(PING * 2)
    assert [event["event"] for event in said(got)] == ["message_end"]


async def test_pings_while_text_comes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pings come by the clock, so also in a stream that never rests."""
    monkeypatch.setattr(WorkflowTranslation, "keep_alive", KeepAlive(0.05, PING, idle=False))
    async with (
        served(sse_stream(iter(chat_events(4000)), 0.002), tmp_path, ledger={"flush": "50ms"}) as (proxy, _),
        RawClient(proxy.port) as client,
    ):
        await begin(client, "/workflows/run", body(), "t-1")
        await client.until(PING, 3)
        await send(proxy, "POST", "/workflows/tasks/t-1/stop", {"user": "ann"})
        got = await client.answer()
    assert said(got)[-1]["data"]["status"] == "stopped"


async def test_blocking_calls_get_no_ping(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A blocking answer is JSON and nothing before it."""
    monkeypatch.setattr(MessageTranslation, "keep_alive", KeepAlive(0.02, PING, idle=False))
    script = sse_stream(chat_events(30), 0.01)
    async with served(script, tmp_path, ledger={"flush": "20ms"}) as (proxy, _):
        got = await send(proxy, "POST", "/completion-messages", body(response_mode="blocking"))
    assert got.json()["answer"] == text(30)


def upstream_error(status: int) -> Script:
    """An upstream that refuses a call in OpenAI's words."""
    return json_answer({"error": {"message": "no such thing"}}, status, [("Retry-After", "7")])


@pytest.mark.parametrize("mode", ["streaming", "blocking"])
@pytest.mark.parametrize(
    ("script", "code"),
    [
        (upstream_error(401), "provider_not_initialize"),
        (upstream_error(429), "provider_quota_exceeded"),
        (upstream_error(404), "model_currently_not_support"),
        (upstream_error(400), "completion_request_error"),
        (upstream_error(500), "completion_request_error"),
        (answer(200, b"<html>", [("Content-Type", "text/html")]), "completion_request_error"),
        (answer(302, b"", [("Location", "/")]), "completion_request_error"),
    ],
    ids=["401", "429", "404", "400", "500", "html", "redirect"],
)
async def test_upstream_that_refuses(tmp_path: Path, script: Script, code: str, mode: str) -> None:
    """An upstream's refusal is a 400 with the code for it, before any event, and the upstream's words are in it."""
    async with served(script, tmp_path) as (proxy, _):
        got = await send(proxy, "POST", "/chat-messages", body(response_mode=mode))
        kept = await record(proxy, got.header("X-Task-Id") or "")
    assert error_of(got) == (400, code, None)
    if b"<html>" not in got.body and code != "completion_request_error":
        assert "no such thing" in got.json()["message"]
        assert got.header("Retry-After") == "7"
    assert kept["outcome"] == "failed"


async def test_upstream_that_is_not_there(tmp_path: Path) -> None:
    """An upstream that refuses the connection is a 400 that says so; a workflow, which has begun, ends as failed."""
    async with served(hang(), tmp_path, upstream={"base_url": "http://127.0.0.1:9/v1"}) as (proxy, _):
        got = await send(proxy, "POST", "/completion-messages", body())
        run = await send(proxy, "POST", "/workflows/run", body())
        blocking = await send(proxy, "POST", "/workflows/run", body(response_mode="blocking"))
    assert error_of(got) == error_of(blocking) == (400, "completion_request_error", None)
    events = said(run)
    names = ["workflow_started", "node_started", "node_finished", "workflow_finished"]
    assert [event["event"] for event in events] == names
    assert events[-1]["data"]["status"] == "failed"
    assert events[-1]["data"]["error"] == got.json()["message"]


@pytest.mark.parametrize("then", ["end", "fin", "reset"])
async def test_stream_that_breaks_off(tmp_path: Path, then: Any) -> None:
    """An upstream that ends amid its answer gives the text so far, one error event, and a proper end of the stream."""
    async with served(sse_stream(SAID, then=then), tmp_path) as (proxy, _):
        got = await send(proxy, "POST", "/chat-messages", body())
        run = await send(proxy, "POST", "/workflows/run", body())
        blocking = await send(proxy, "POST", "/chat-messages", body(response_mode="blocking"))
        kept = await record(proxy, got.header("X-Task-Id") or "")
    events = said(got)
    assert got.complete
    assert text_of(events) == text(8)
    assert [event["event"] for event in events][8:] == ["error"]
    assert (events[-1]["status"], events[-1]["code"]) == (400, "completion_request_error")
    assert "task_id" not in events[-1]
    assert (kept["outcome"], kept["text"]) == ("failed", text(8))
    assert [event["data"]["status"] for event in said(run)[-2:]] == ["failed", "failed"]
    assert error_of(blocking) == (400, "completion_request_error", None)


async def test_error_in_the_stream(tmp_path: Path) -> None:
    """An error that the upstream reports in its stream is an error event with its words."""
    script = sse_stream([*SAID, sse({"error": {"message": "out of memory"}}), DONE])
    async with served(script, tmp_path) as (proxy, _):
        got = await send(proxy, "POST", "/completion-messages", body())
    last = said(got)[-1]
    assert (last["event"], last["code"], last["status"]) == ("error", "completion_request_error", 400)
    assert "out of memory" in last["message"]


@pytest.mark.parametrize("script", [hang(), headers_then_hang(), events_then_hang(SAID)])
async def test_silence_times_out(tmp_path: Path, script: Script) -> None:
    """An upstream that falls silent is a 400 before the header, an error event after it."""
    timeouts = {"timeouts": {"first_byte": "300ms", "idle": "300ms"}}
    async with served(script, tmp_path, upstream=timeouts) as (proxy, _):
        got = await send(proxy, "POST", "/completion-messages", body())
        kept = await record(proxy, got.header("X-Task-Id") or "")
    if got.status == 200:
        assert [(event["event"], event["code"]) for event in said(got)[-1:]] == [("error", "completion_request_error")]
    else:
        assert error_of(got) == (400, "completion_request_error", None)
    assert kept["outcome"] == "timed_out"


@pytest.mark.parametrize("path", [*PATHS, "/completion-messages/t-1/stop", "/messages/m-1/feedbacks"])
async def test_bodies_that_are_none(tmp_path: Path, path: str) -> None:
    """What is no JSON object is `bad_request`; an empty body lacks its user."""
    async with served(hang(), tmp_path) as (proxy, up):
        for wrong in (b"{", b"[]", b'"x"', b'{"a": 1, "a": 2}', b"\xff\xfe", b'{"a": NaN}'):
            assert error_of(await send(proxy, "POST", path, wrong)) == (400, "bad_request", None)
        for empty in (b"", b"{}"):
            got = await send(proxy, "POST", path, empty)
            assert error_of(got) == (400, "invalid_param", "user")
            assert got.json()["message"] == "Arg user must be provided."
    assert not up.requests


async def test_chat_needs_a_query(tmp_path: Path) -> None:
    """A chat without a query is refused; a completion app may do without."""
    async with served(sse_stream(chat_events(2)), tmp_path) as (proxy, _):
        assert error_of(await send(proxy, "POST", "/chat-messages", body(None))) == (400, "invalid_param", "query")
        assert (await send(proxy, "POST", "/completion-messages", body(None))).status == 200


async def test_route_without_a_model(tmp_path: Path) -> None:
    """A route that names no model says so, and calls nobody."""
    async with served(hang(), tmp_path, route={"model": None}) as (proxy, up):
        for path in PATHS:
            got = await send(proxy, "POST", path, body())
            assert error_of(got) == (400, "provider_not_initialize", None)
            assert "model" in got.json()["message"]
    assert not up.requests


async def test_refusals_of_the_proxy(tmp_path: Path) -> None:
    """Keys, methods, paths, sizes and chosen ids are refused in Dify's shape, with the status that they have."""
    keys = [{"id": "acme", "hash": "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"}]  # of "foo"
    async with served(hang(), tmp_path, keys=keys, limits={"body": "1KiB"}) as (proxy, _):
        foo, path = Ask("foo"), "/completion-messages"
        unknown = await send(proxy, "POST", path, body(), Ask("bar"))
        assert error_of(unknown) == (401, "unauthorized", None)
        assert unknown.header("WWW-Authenticate") == 'Bearer realm="api"'
        other = await send(proxy, "GET", path, b"", foo)
        assert (error_of(other), other.header("Allow")) == ((405, "method_not_allowed", None), "POST")
        assert error_of(await send(proxy, "POST", "/nowhere", b"{}", foo)) == (404, "not_found", None)
        assert error_of(await send(proxy, "POST", path, body("x" * 2000), foo)) == (413, "file_too_large", None)
        wrong = await send(proxy, "POST", path, body(), foo, X_Task_Id="a b")
        assert error_of(wrong) == (400, "invalid_param", "X-Task-Id")
        async with RawClient(proxy.port) as client:
            await begin(client, path, body(), "t-1", foo)
            await living(proxy, 1)
            again = await send(proxy, "POST", path, body(), foo, X_Task_Id="t-1")
            assert error_of(again) == (400, "task_id_in_use", "X-Task-Id")


async def test_proxy_is_full(tmp_path: Path) -> None:
    """Over the proxy's own bound the answer is 503, with when to come again."""
    async with served(hang(), tmp_path, limits={"streams": 1}) as (proxy, _), RawClient(proxy.port) as client:
        await begin(client, "/completion-messages", body(), "t-1")
        await living(proxy, 1)
        got = await send(proxy, "POST", "/completion-messages", body())
    assert error_of(got) == (503, "overloaded", None)
    assert got.header("Retry-After")


async def test_queue_is_full(tmp_path: Path) -> None:
    """Over the bound of the upstream's queue the answer is Dify's 429, with when to come again."""
    upstream = {"slots": 1, "queue": {"size": 1, "timeout": "30s"}}
    async with served(hang(), tmp_path, upstream=upstream) as (proxy, _):
        async with RawClient(proxy.port) as first, RawClient(proxy.port) as second:
            for number, client in enumerate((first, second), 1):
                await begin(client, "/completion-messages", body(), f"t-{number}")
                await living(proxy, number)
            got = await send(proxy, "POST", "/completion-messages", body())
    assert error_of(got) == (429, "too_many_requests", None)
    assert got.header("Retry-After")


async def test_an_answer_that_is_too_long(tmp_path: Path) -> None:
    """A blocking answer is given whole or not at all; a stream has all of it, however little is kept."""
    async with served(sse_stream(chat_events(20)), tmp_path, limits={"partial_text": "20B"}) as (proxy, _):
        blocking = await send(proxy, "POST", "/completion-messages", body(response_mode="blocking"))
        stream = await send(proxy, "POST", "/completion-messages", body())
    assert error_of(blocking) == (502, "answer_too_large", None)
    assert text_of(said(stream)) == text(20)


async def test_an_app_describes_itself(tmp_path: Path) -> None:
    """Front ends get what they ask for at their start, the route's variables among it."""
    inputs = {"language": {"required": True}, "query": {}}
    async with served(hang(), tmp_path, route={"inputs": inputs}) as (proxy, up):
        info = (await send(proxy, "GET", "/info")).json()
        parameters = (await send(proxy, "GET", "/parameters?user=ann")).json()
        meta = (await send(proxy, "GET", "/meta")).json()
        site = (await send(proxy, "GET", "/site")).json()
    assert set(info) == {"name", "description", "tags", "mode", "author_name"}
    assert (info["tags"], info["mode"]) == ([], "chat")
    assert meta == {"tool_icons": {}}
    assert {"title", "icon_type", "default_language", "show_workflow_steps"} <= set(site)
    form = [field["paragraph"] for field in parameters["user_input_form"]]
    assert [(field["variable"], field["required"]) for field in form] == [("language", True), ("query", False)]
    assert parameters["file_upload"]["image"]["transfer_methods"] == ["remote_url"]
    assert set(parameters) == {
        *("opening_statement", "suggested_questions", "suggested_questions_after_answer", "speech_to_text"),
        *("text_to_speech", "retriever_resource", "annotation_reply", "more_like_this", "sensitive_word_avoidance"),
        *("user_input_form", "file_upload", "system_parameters"),
    }
    assert not up.requests


async def test_any_cut_of_the_upstream_gives_the_same_events(tmp_path: Path) -> None:
    """The events are the same whether the upstream's bytes come one by one or all at once."""
    stream = b"".join(chat_events(3, words=["Ä", "\N{GRINNING FACE}", "\u2028"]))
    found = []
    for pieces in ([stream], [stream[i : i + 1] for i in range(len(stream))]):
        async with served(sse_stream(pieces), tmp_path) as (proxy, _):
            events = said(await send(proxy, "POST", "/completion-messages", body(), X_Task_Id="t-1"))
            found.append([{**event, "message_id": 0, "id": 0, "created_at": 0, "metadata": 0} for event in events])
    assert found[0] == found[1]
    assert json.dumps("Ä\N{GRINNING FACE}\u2028") == json.dumps(text_of(found[0]))
