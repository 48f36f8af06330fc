"""The dialect aitronos end to end: streams, whole answers, history, and every kind of upstream trouble."""

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from proxy.dialects.aitronos import translation
from support.aitronos import DONE, RESPOND, asks, begin, error_of, events_of, messages, names, sent, served
from support.chat import chat_events, sse, text
from support.client import RawClient
from support.edge import send
from support.program import config_text
from support.proxy import running_proxy
from support.scripts import answer, events_then_hang, hang, in_turn, json_answer, sse_stream
from support.stops import Ask, call, record
from support.wait import eventually, within

STREAM = asks(stream=True)


async def test_stream(tmp_path: Path) -> None:
    """A stream is processing, created, a delta for each token, completed with text and usage, then the end mark."""
    async with served(sse_stream(chat_events(5, usage=True)), tmp_path) as (proxy, up):
        found = await call(proxy, "POST", RESPOND, STREAM)
        kept = await messages(proxy, events_of(found.body)[0]["thread_id"])
    assert found.status == 200
    assert found.header("Content-Type") == "text/event-stream"
    assert found.body.endswith(DONE + b"\n\n")
    events = events_of(found.body)
    assert names(events) == ["response.processing", "response.created", "response.content_delta", "response.completed"]
    assert "".join(each["delta"] for each in events if each["event"] == "response.content_delta") == text(5)
    processing, created, completed = events[0], events[1], events[-1]
    assert processing["status"] == "processing"
    assert processing["thread_id"].startswith("thrd_")
    assert created["thread_id"] == completed["thread_id"] == processing["thread_id"]
    assert completed["response"] == [{"type": "text", "text": text(5)}]
    assert completed["stop_reason"] == "end_turn"
    assert completed["usage"] == {"input_tokens": 7, "output_tokens": 5, "total_tokens": 12}
    assert [(each["role"], each["content"]) for each in kept] == [("user", "Hello"), ("assistant", text(5))]
    assert created["user_message_id"] == kept[0]["id"]
    assert sent(up)["messages"] == [{"role": "user", "content": "Hello"}]


async def test_processing_is_said_at_once(tmp_path: Path) -> None:
    """The first event goes out although the upstream says nothing, with ids to stop it by."""
    async with served(hang(), tmp_path) as (proxy, _), RawClient(proxy.port) as client:
        thread_id = await begin(client)
        assert bytes(client.buffer).count(b"data: ") == 1
        assert b"X-Task-Id" in client.buffer
        found = await call(proxy, "GET", f"/v1/threads/{thread_id}")
    assert found.json()["status"] == "streaming"


async def test_stream_path(tmp_path: Path) -> None:
    """The path of the older page streams without being asked to in the body."""
    async with served(sse_stream(chat_events(2)), tmp_path) as (proxy, _):
        found = await call(proxy, "POST", f"{RESPOND}/stream", asks())
    assert names(events_of(found.body))[-1] == "response.completed"


async def test_whole_answer(tmp_path: Path) -> None:
    """Without `stream` the answer is one JSON with the text as blocks."""
    async with served(sse_stream(chat_events(5, usage=True)), tmp_path) as (proxy, _):
        found = await call(proxy, "POST", RESPOND, asks(metadata={"ticket": "7"}))
        body = found.json()
        kept = await messages(proxy, body["thread_id"])
    assert found.status == 200
    assert body["success"] is True
    assert body["response"] == [{"type": "text", "text": text(5)}]
    assert (body["stop_reason"], body["is_summarized"], body["metadata"]) == ("end_turn", False, {"ticket": "7"})
    assert kept[1]["id"] == body["response_id"].replace("resp_", "msg_")
    assert kept[1]["metadata"] == {"ticket": "7"}


async def test_history_and_options(tmp_path: Path) -> None:
    """A thread's messages go upstream before the new input, under either form of its id; options under their names."""
    options = {"temperature": 0.5, "top_p": 1, "max_output_synapses": 9, "reasoning": {"effort": "maximum"}}
    async with served(sse_stream(chat_events(2)), tmp_path) as (proxy, up):
        thread_id = (await call(proxy, "POST", RESPOND, asks())).json()["thread_id"]
        other = thread_id.replace("thrd_", "thread_")
        more = asks("And?", thread_id=other, instructions="Be brief.", model="large", **options)
        second = await call(proxy, "POST", RESPOND, more)
        body = sent(up)
    assert second.json()["thread_id"] == thread_id
    assert body["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": text(2)},
        {"role": "user", "content": "And?"},
    ]
    assert (body["temperature"], body["top_p"], body["max_tokens"]) == (0.5, 1, 9)
    assert (body["model"], body["reasoning_effort"], body["stream"]) == ("large", "high", True)


async def test_edits(tmp_path: Path) -> None:
    """Editing a message, or going on from an earlier one, leaves out what came after it, upstream and in lists."""
    async with served(sse_stream(chat_events(1)), tmp_path) as (proxy, up):
        first = (await call(proxy, "POST", RESPOND, asks("one"))).json()
        thread = {"thread_id": first["thread_id"]}
        await call(proxy, "POST", RESPOND, asks("two", **thread))
        two = (await messages(proxy, first["thread_id"]))[2]["id"]
        await call(proxy, "POST", RESPOND, asks("three", **thread, edit_message_id=two))
        assert [each["content"] for each in sent(up)["messages"]] == ["one", text(1), "three"]
        await call(proxy, "POST", RESPOND, asks("four", previous_response_id=first["response_id"]))
        assert [each["content"] for each in sent(up)["messages"]] == ["one", text(1), "four"]
        kept = await messages(proxy, first["thread_id"])
        unknown = await call(proxy, "POST", RESPOND, asks("five", **thread, edit_message_id=two))
    assert [each["content"] for each in kept] == ["one", text(1), "four", text(1)]
    assert error_of(unknown, 404)["code"] == "RESOURCE_NOT_FOUND"


async def test_reasoning(tmp_path: Path) -> None:
    """Reasoning is said by itself, and is over before the first text."""

    def chunk(delta: dict[str, Any], reason: str | None = None) -> bytes:
        return sse({"id": "c", "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]})

    said = [chunk({"reasoning_content": "Hm"}), chunk({"reasoning_content": "."}), chunk({"content": "Yes"})]
    script = sse_stream([*said, chunk({}, "stop"), b"data: [DONE]\n\n"])
    async with served(script, tmp_path) as (proxy, _):
        events = events_of((await call(proxy, "POST", RESPOND, STREAM)).body)
        whole = (await call(proxy, "POST", RESPOND, asks())).json()
    assert names(events)[2:] == [
        "reasoning.started",
        "reasoning.content",
        "reasoning.completed",
        "response.content_delta",
        "response.completed",
    ]
    assert "".join(each["content"] for each in events if each["event"] == "reasoning.content") == "Hm."
    assert whole["reasoning_content"] == "Hm."


async def test_structured(tmp_path: Path) -> None:
    """In the structured mode the answer comes as blocks, one for each paragraph, and is kept so."""
    script = sse_stream(chat_events(words=["One.", "\n", "\nTwo", ".\n\n```\na\n\nb\n```"]))
    blocks = [{"type": "text", "text": each} for each in ("One.", "Two.", "```\na\n\nb\n```")]
    async with served(script, tmp_path) as (proxy, _):
        events = events_of((await call(proxy, "POST", RESPOND, {**STREAM, "output_mode": "structured"})).body)
        kept = await messages(proxy, events[0]["thread_id"])
    assert [each["block"] for each in events if each["event"] == "response.block"] == blocks
    assert "response.content_delta" not in names(events)
    assert events[-1]["response_blocks"] == kept[1]["response_blocks"] == blocks


async def test_plain(tmp_path: Path) -> None:
    """In the plain mode the model is asked for text without formatting."""
    async with served(sse_stream(chat_events(1)), tmp_path) as (proxy, up):
        await call(proxy, "POST", RESPOND, asks(output_mode="plain"))
        first = sent(up)["messages"][0]
    assert first["role"] == "system"
    assert "plain text" in first["content"]


async def test_files(tmp_path: Path) -> None:
    """Files and images by address become image parts; an uploaded file can't be had, and the answer says so."""
    url = "https://example.com/a.png"
    content = [{"type": "text", "text": "Look"}, {"type": "image", "source": {"type": "url", "url": url}}]
    item = {"role": "user", "content": content, "files": [{"url": url}]}
    async with served(sse_stream(chat_events(1)), tmp_path) as (proxy, up):
        first = (await call(proxy, "POST", RESPOND, {"inputs": [item]})).json()
        await call(proxy, "POST", RESPOND, asks("Again", thread_id=first["thread_id"]))
        image = {"type": "image_url", "image_url": {"url": url}}
        assert sent(up)["messages"][0]["content"] == [{"type": "text", "text": "Look"}, image, image]
        kept = await messages(proxy, first["thread_id"])
        item["files"] = [{"file_id": "file_1"}]
        refused = await call(proxy, "POST", RESPOND, {"inputs": [item]})
    assert kept[0]["attachments"][0]["url"] == url
    error = error_of(refused, 422)
    assert error["code"] == "VALIDATION_ERROR"
    assert error["details"]["fields"][0]["field"] == "inputs.0.files.0.file_id"


async def test_heartbeat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the upstream is silent for long the reader gets heartbeats, which nobody who reads later sees."""
    monkeypatch.setattr(translation, "HEARTBEAT_SECONDS", 0.05)
    async with served(hang(), tmp_path) as (proxy, _), RawClient(proxy.port) as client:
        thread_id = await begin(client)
        await client.until(b"response.heartbeat", 2)
        await send(proxy, "POST", f"{RESPOND}/{thread_id}/cancel")
        found = await client.answer()
    beats = [each for each in events_of(found.body) if each["event"] == "response.heartbeat"]
    assert beats[0]["thread_id"] == thread_id


async def test_one_live_stream_for_each_thread(tmp_path: Path) -> None:
    """A second stream on a busy thread is a conflict and changes nothing; the next one after the end is none."""
    script = in_turn(events_then_hang(chat_events(3)[:-2]), sse_stream(chat_events(1)))
    async with served(script, tmp_path) as (proxy, up), RawClient(proxy.port) as client:
        thread_id = await begin(client)
        await client.until(b"content_delta", 3)
        second = await call(proxy, "POST", RESPOND, asks("Two", thread_id=thread_id))
        assert error_of(second, 409)["code"] == "RESOURCE_CONFLICT"
        await send(proxy, "POST", f"{RESPOND}/{thread_id}/cancel")
        await client.answer()
        third = await call(proxy, "POST", RESPOND, asks("Three", thread_id=thread_id))
        assert third.status == 200
        assert len(up.requests) == 2
        assert "Two" not in json.dumps(sent(up))


async def test_next_turn_at_once(tmp_path: Path) -> None:
    """A client that has read the end may go on with the thread at once, again and again."""
    async with served(sse_stream(chat_events(1)), tmp_path) as (proxy, _), RawClient(proxy.port) as client:
        thread_id = await begin(client)
        for _ in range(10):
            await client.until(DONE + b"\n\n")
            await client.answer()
            await client.post(RESPOND, asks(stream=True, thread_id=thread_id))
        assert (await client.answer()).status == 200


@pytest.mark.parametrize(
    ("script", "status", "code"),
    [
        (json_answer({"error": {"message": "no such key"}}, 401), 502, "MODEL_PROVIDER_ERROR"),
        (json_answer({"error": {"message": "slow down"}}, 429), 429, "RATE_LIMIT_EXCEEDED"),
        (json_answer({"error": {"message": "too long"}}, 400), 400, "MODEL_REQUEST_REJECTED"),
        (json_answer({"error": {"message": "ouch"}}, 503), 503, "SERVICE_UNAVAILABLE"),
        (answer(200, b"<html>", [("Content-Type", "text/html")]), 502, "MODEL_PROVIDER_ERROR"),
        (sse_stream(chat_events(2)[:-2]), 502, "MODEL_PROVIDER_ERROR"),
        (sse_stream([*chat_events(2)[:-2], sse({"error": {"message": "broke"}})]), 502, "MODEL_PROVIDER_ERROR"),
        (sse_stream(chat_events(2)[:-2], then="reset"), 502, "MODEL_PROVIDER_ERROR"),
    ],
    ids=["401", "429", "400", "503", "no stream", "cut short", "error event", "reset"],
)
async def test_upstream_trouble(tmp_path: Path, script: Any, status: int, code: str) -> None:
    """Whatever the upstream does: an error event and the end mark in a stream, the envelope instead of a JSON."""
    async with served(script, tmp_path) as (proxy, _):
        streamed = await call(proxy, "POST", RESPOND, STREAM)
        whole = await call(proxy, "POST", RESPOND, asks())
    assert error_of(whole, status)["code"] == code
    events = events_of(streamed.body)
    assert streamed.body.endswith(DONE + b"\n\n")
    assert streamed.body.count(DONE) == 1
    assert events[-1]["event"] == "response.error"
    assert (events[-1]["status"], events[-1]["code"]) == ("failed", code)
    assert not {"response.completed", "response.cancelled"} & set(names(events))


async def test_unreachable_upstream(tmp_path: Path) -> None:
    """Nobody listens where the upstream should be: an error event, and 502."""
    route = {"dialect": "aitronos", "model": "scripted"}
    async with running_proxy(config_text("http://127.0.0.1:9", route=route), tmp_path) as proxy:
        streamed = await call(proxy, "POST", RESPOND, STREAM)
        whole = await call(proxy, "POST", RESPOND, asks())
    assert events_of(streamed.body)[-1]["code"] == "MODEL_PROVIDER_ERROR"
    assert error_of(whole, 502)["code"] == "MODEL_PROVIDER_ERROR"


async def test_silent_upstream(tmp_path: Path) -> None:
    """An upstream that says nothing in time is an error event, and 504."""
    upstream = {"timeouts": {"first_byte": "100ms"}}
    async with served(hang(), tmp_path, upstream=upstream) as (proxy, _):
        streamed = await call(proxy, "POST", RESPOND, STREAM)
        whole = await call(proxy, "POST", RESPOND, asks())
    assert events_of(streamed.body)[-1]["code"] == "MODEL_PROVIDER_TIMEOUT"
    assert error_of(whole, 504)["code"] == "MODEL_PROVIDER_TIMEOUT"


@pytest.mark.parametrize("header", ["X-API-Key", "api-key", "Authorization"])
async def test_every_way_to_send_a_key(tmp_path: Path, header: str) -> None:
    """A key is taken from each of three headers; without a good one even a stream gets a real 401."""
    digest = sha256(b"ak_1").hexdigest()
    config = {"keys": [{"id": "acme", "hash": digest}], "upstream": {"api_key": "sk-up"}}
    async with served(sse_stream(chat_events(1)), tmp_path, **config) as (proxy, up):
        value = "Bearer ak_1" if header == "Authorization" else "ak_1"
        found = await send(proxy, "POST", RESPOND, STREAM, [(header, value)])
        refused = await send(proxy, "POST", RESPOND, STREAM, [(header, value + "x")])
        none = await send(proxy, "POST", f"{RESPOND}/thrd_1/cancel")
    assert found.status == 200
    assert len(up.requests) == 1
    for each in (refused, none):
        error = error_of(each, 401)
        assert (error["code"], error["type"]) == ("AUTHENTICATION_REQUIRED", "authentication_error")


async def test_somebody_elses_thread(tmp_path: Path) -> None:
    """Another caller's thread can't be continued, read, changed or deleted: it looks like an unknown one."""
    mine, other = Ask("one"), Ask("two")
    async with served(sse_stream(chat_events(1)), tmp_path) as (proxy, up):
        thread_id = (await call(proxy, "POST", RESPOND, asks(), mine)).json()["thread_id"]
        path = f"/v1/threads/{thread_id}"
        for method, at, body in (
            ("POST", RESPOND, asks(thread_id=thread_id)),
            ("GET", path, b""),
            ("GET", f"{path}/messages", b""),
            ("PATCH", path, {"title": "x"}),
            ("DELETE", path, b""),
        ):
            found = await send(proxy, method, at, body, other.headers())
            assert error_of(found, 404)["code"] == "RESOURCE_NOT_FOUND"
        assert len(up.requests) == 1
        assert len(await messages(proxy, thread_id, mine)) == 2


async def test_record(tmp_path: Path) -> None:
    """The native API lists the generation under the thread's id and the response's, as one of this dialect."""
    async with served(sse_stream(chat_events(3, usage=True)), tmp_path) as (proxy, _):
        body = (await call(proxy, "POST", RESPOND, asks())).json()
        for any_id in (body["thread_id"], body["response_id"]):
            kept = await record(proxy, any_id)
            assert (kept["dialect"], kept["outcome"], kept["model"]) == ("aitronos", "completed", "scripted")
            assert kept["completion_tokens"] == 3


async def test_client_that_leaves(tmp_path: Path) -> None:
    """A client that leaves ends the upstream's work; the partial answer stays in its thread, marked as cancelled."""
    async with served(events_then_hang(chat_events(3)[:-2]), tmp_path) as (proxy, up):
        async with RawClient(proxy.port) as client:
            thread_id = await begin(client)
            await client.until(b"content_delta", 3)
            client.fin()
        conn = await up.conn()
        await within(conn.closed.wait(), "the upstream sees the close")
        await eventually(lambda: len(proxy.app.engine.registry) == 0, what="the generation is settled")
        kept = await messages(proxy, thread_id)
    assert (kept[1]["content"], kept[1]["metadata"]) == (text(3), {"cancelled": True})
