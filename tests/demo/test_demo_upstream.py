import asyncio
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import openai
import pytest

from proxy.demo.calls import DemoCall, Ended
from proxy.demo.text import PIECES, TEXT, pieces
from proxy.demo.upstream import DemoUpstream, start_demo_upstream
from support.client import Answer, RawClient
from support.program import config_text
from support.proxy import running_proxy
from support.stops import stop
from support.wait import eventually, within

CHAT = "/v1/chat/completions"
FAST: dict[str, Any] = {"tokens": 5, "per_second": 10_000}
SLOW: dict[str, Any] = {"tokens": 400, "per_second": 200}
SILENT: dict[str, Any] = {"first_token_after": "1h"}
TOOL = {"type": "function", "function": {"name": "look_up", "parameters": {
    "type": "object", "properties": {"word": {"type": "string"}, "n": {"type": "integer"}}, "required": ["word", "n"],
}}}  # fmt: skip


@dataclass
class Demo:
    """A demo upstream and the closes it reported."""

    upstream: DemoUpstream
    closes: list[DemoCall]
    reported: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def port(self) -> int:
        """Where it listens."""
        return self.upstream.address.port

    async def post(self, path: str = CHAT, *, demo: Any = FAST, **more: Any) -> Answer:
        """Ask once, on a connection of its own."""
        async with RawClient(self.port) as client:
            await client.post(path, body(demo, **more))
            return await client.answer()

    async def get(self, path: str) -> Answer:
        """Look at a path, on a connection of its own."""
        async with RawClient(self.port) as client:
            await client.get(path)
            return await client.answer()


def body(demo: Any = FAST, content: str = "Say something nice", **more: Any) -> dict[str, Any]:
    """A request with demo options."""
    return {"model": "demo", "messages": [{"role": "user", "content": content}], "demo": demo, **more}


def chunks(answer: Answer) -> list[Any]:
    """The JSON of each event before [DONE]."""
    assert answer.events[-1] == b"data: [DONE]\n\n"
    return [json.loads(event[6:]) for event in answer.events[:-1]]


@pytest.fixture
async def demo() -> AsyncIterator[Demo]:
    """A running demo upstream."""
    closes: list[DemoCall] = []
    reported = asyncio.Event()

    def on_close(call: DemoCall) -> None:
        closes.append(call)
        reported.set()

    upstream = await start_demo_upstream("127.0.0.1", 0, on_close)
    yield Demo(upstream, closes, reported)
    await upstream.stop()


async def test_a_chat_is_streamed_token_by_token(demo: Demo) -> None:
    """Role, one chunk a token, finish, usage with as many tokens, [DONE]."""
    answer = await demo.post(stream=True, stream_options={"include_usage": True})
    role, *said, finish, usage = chunks(answer)
    assert answer.complete
    assert answer.header("content-type") == "text/event-stream"
    assert role["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert [chunk["choices"][0]["delta"]["content"] for chunk in said] == pieces(5)
    assert finish["choices"][0]["finish_reason"] == "stop"
    assert (usage["choices"], usage["usage"]) == (
        [],
        {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
    )
    assert {chunk["id"] for chunk in [role, *said, finish, usage]} == {demo.upstream.calls[0].id}
    assert role["usage"] is None


async def test_usage_is_sent_only_when_asked_for(demo: Demo) -> None:
    """Without include_usage no chunk mentions usage."""
    assert b"usage" not in (await demo.post(stream=True)).body


async def test_it_counts_a_prompt_as_a_stop_of_it_does(demo: Demo, tmp_path: Path) -> None:
    """The usage of a whole answer and the count of a stopped one have the same prompt, whatever is in it."""
    asks = [body(content="Tell me a long story."), body(content="Ünïcode, 漢字, 😀!", tools=[TOOL], tool_choice="none")]
    async with running_proxy(config_text(demo.upstream.base_url), tmp_path) as proxy:
        for number, asked in enumerate(asks):
            async with RawClient(proxy.port) as client:
                await client.post(CHAT, asked)
                told = (await client.answer()).json()["usage"]["prompt_tokens"]
                await client.post(CHAT, {**asked, "demo": SLOW, "stream": True}, [("X-Task-Id", f"t{number}")])
                await client.until(b"data: ", 3)
                receipt = (await stop(proxy, f"t{number}")).json()
            assert (receipt["result"], receipt["usage"]["prompt_tokens"]) == ("stopped", told)
            assert number or told == 13


async def test_a_chat_comes_whole(demo: Demo) -> None:
    """Without stream the answer is one JSON object with the same text and counts."""
    answer = (await demo.post(n=2)).json()
    assert answer["object"] == "chat.completion"
    assert [choice["message"]["content"] for choice in answer["choices"]] == ["".join(pieces(5))] * 2
    assert answer["usage"]["completion_tokens"] == 10


async def test_several_choices_are_streamed_side_by_side(demo: Demo) -> None:
    """Each choice has its own chunks and its own end."""
    got = chunks(await demo.post(stream=True, n=2))
    for index in (0, 1):
        own = [chunk["choices"][0] for chunk in got if chunk["choices"][0]["index"] == index]
        assert "".join(choice["delta"].get("content", "") for choice in own) == "".join(pieces(5))
        assert own[-1]["finish_reason"] == "stop"
    assert demo.upstream.calls[0].tokens_sent == 10


async def test_completions_are_served_too(demo: Demo) -> None:
    """The older API streams and answers whole in its own shape."""
    streamed = chunks(await demo.post("/v1/completions", prompt="x", stream=True))
    assert "".join(chunk["choices"][0]["text"] for chunk in streamed) == "".join(pieces(5))
    assert streamed[-1]["choices"][0]["finish_reason"] == "stop"
    whole = (await demo.post("/v1/completions", prompt="x")).json()
    assert (whole["object"], whole["choices"][0]["text"]) == ("text_completion", "".join(pieces(5)))
    assert whole["id"].startswith("cmpl-demo-")


@pytest.mark.parametrize("limit", [{"max_tokens": 3}, {"max_completion_tokens": 3, "max_tokens": 4}])
async def test_the_clients_limit_ends_an_answer(demo: Demo, limit: dict[str, Any]) -> None:
    """A limit below the length cuts the answer, with the finish reason length."""
    (choice,) = (await demo.post(**limit)).json()["choices"]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("".join(pieces(3)), "length")


async def test_a_tool_is_called_when_asked_for(demo: Demo) -> None:
    """With tools offered and the words in the last message, a call with the required arguments is streamed."""
    got = chunks(await demo.post(stream=True, tools=[TOOL], content="Please call a tool."))
    calls = [call for chunk in got for call in chunk["choices"][0]["delta"].get("tool_calls", [])]
    assert (calls[0]["function"]["name"], calls[0]["type"]) == ("look_up", "function")
    assert json.loads("".join(call["function"]["arguments"] for call in calls)) == {"word": "demo", "n": 1}
    assert got[-1]["choices"][0]["finish_reason"] == "tool_calls"
    (whole,) = (await demo.post(tools=[TOOL], content="Call a tool")).json()["choices"]
    assert json.loads(whole["message"]["tool_calls"][0]["function"]["arguments"]) == {"word": "demo", "n": 1}
    (plain,) = (await demo.post(tools=[TOOL])).json()["choices"]
    assert plain["message"]["content"] == "".join(pieces(5))


async def test_tokens_keep_their_times(demo: Demo) -> None:
    """The length of the silence and of the whole answer are as asked for, without drift."""
    begin = time.perf_counter()
    await demo.post(demo={"tokens": 21, "per_second": 200, "first_token_after": "100ms"}, stream=True)
    took = time.perf_counter() - begin
    assert 0.2 <= took < 2


@pytest.mark.parametrize("way", ["fin", "reset", "half_close"])
async def test_a_close_in_the_middle_is_reported_at_once(demo: Demo, way: str) -> None:
    """The close is seen when it happens, with the tokens sent by then."""
    async with RawClient(demo.port) as client:
        await client.post(CHAT, body(SLOW, stream=True))
        await client.until(b"data: ", count=6)
        getattr(client, way)()
        await within(demo.reported.wait(), "the report of the close")
    (call,) = demo.closes
    assert call.ended is Ended.CLOSED
    assert 5 <= call.tokens_sent < call.of == 400
    assert str(call) == f"saw the close of {call.id} after {call.tokens_sent} of 400 tokens"


@pytest.mark.parametrize("stream", [True, False])
async def test_a_close_during_silence_is_reported_at_once(demo: Demo, *, stream: bool) -> None:
    """A close before the first token is seen at once too, streaming or not."""
    async with RawClient(demo.port) as client:
        await client.post(CHAT, body(SILENT, stream=stream))
        await eventually(lambda: demo.upstream.calls)
        client.fin()
        await within(demo.reported.wait(), "the report of the close")
    assert (demo.closes[0].tokens_sent, demo.closes[0].stream) == (0, stream)


async def test_a_close_is_seen_while_nobody_reads(demo: Demo) -> None:
    """A reader that takes nothing and then leaves is noticed although writing had stopped."""
    async with RawClient(demo.port, receive_buffer=4096) as client:
        await client.post(CHAT, body({"tokens": 1_000_000, "per_second": 100_000}, stream=True))
        await client.until(b"data: ")
        client.reset()
        await within(demo.reported.wait(), "the report of the close")


async def test_calls_can_be_looked_up(demo: Demo) -> None:
    """The list shows the newest first, one call is found by its completion id, others are 404."""
    await demo.post()
    second = (await demo.post(stream=True)).header("x-request-id")
    newest, oldest = (await demo.get("/demo/calls")).json()
    assert (newest["id"], newest["ended"], newest["tokens_sent"], newest["of"]) == (second, "finished", 5, 5)
    assert newest["started"] <= newest["at"]
    assert newest["ms"] > 0
    assert (await demo.get(f"/demo/calls/{oldest['id']}")).json() == oldest
    assert (await demo.get("/demo/calls/other")).status == 404
    assert str(demo.upstream.calls[0]) == f"{second}: finished, 5 of 5 tokens"
    assert demo.closes == []


async def test_a_running_call_is_shown_as_such(demo: Demo) -> None:
    """A call that runs has no end yet."""
    async with RawClient(demo.port) as client:
        await client.post(CHAT, body(SILENT, stream=True))
        await eventually(lambda: demo.upstream.calls)
        (call,) = (await demo.get("/demo/calls")).json()
    assert (call["ended"], call["at"], call["ms"]) == (None, None, None)


@pytest.mark.parametrize(("status", "retry_after"), [(429, "1"), (503, None)])
async def test_a_failure_by_status(demo: Demo, status: int, retry_after: str | None) -> None:
    """The asked status comes instead of an answer, in OpenAI's shape; 429 says when to retry."""
    answer = await demo.post(demo={"fail": {"status": status}}, stream=True)
    assert (answer.status, answer.header("retry-after")) == (status, retry_after)
    assert set(answer.json()["error"]) == {"message", "type", "code", "param"}
    assert demo.upstream.calls[0].ended is Ended.FAILED


@pytest.mark.parametrize("how", ["reset", "truncate", "error_event"])
async def test_a_failure_in_the_middle(demo: Demo, how: str) -> None:
    """After so many tokens the stream breaks off in the way asked for, never with [DONE]."""
    async with RawClient(demo.port) as client:
        fail = {"how": how, "after_tokens": 2}
        await client.post(CHAT, body({"tokens": 400, "per_second": 100, "fail": fail}, stream=True))
        answer = await client.answer()
        assert client.was_reset == (how == "reset")
    assert answer.complete == (how == "error_event")
    assert b"[DONE]" not in answer.body
    assert len(answer.events) == (4 if how == "error_event" else 3)
    if how == "error_event":
        assert json.loads(answer.events[-1][6:])["error"]["code"] == "demo_failure"
    assert (demo.upstream.calls[0].ended, demo.upstream.calls[0].tokens_sent) == (Ended.FAILED, 2)


async def test_a_failure_by_silence(demo: Demo) -> None:
    """A hanging answer says no more, and its close by the other side is reported."""
    async with RawClient(demo.port) as client:
        fail = {"how": "hang", "after_tokens": 2}
        await client.post(CHAT, body({**FAST, "fail": fail}, stream=True))
        await client.until(b"data: ", count=3)
        client.fin()
        await within(demo.reported.wait(), "the report of the close")
    assert demo.closes[0].tokens_sent == 2


async def test_failures_of_whole_answers(demo: Demo) -> None:
    """Without stream: half an answer, RST without any, or the status."""
    cut = await demo.post(demo={**FAST, "fail": {"how": "truncate"}})
    assert (cut.status, cut.complete, cut.body[:1]) == (200, False, b"{")
    assert (await demo.post(demo={**FAST, "fail": {"how": "error_event", "status": 502}})).status == 502
    async with RawClient(demo.port) as client:
        await client.post(CHAT, body({**FAST, "fail": {"how": "reset"}}))
        assert await client.rest() == b""
        assert client.was_reset


@pytest.mark.parametrize(
    ("raw", "param"),
    [
        (b"{", None),
        (b"[]", None),
        (b'{"messages": []}', "model"),
        (b'{"model": "demo", "stream": "yes"}', "stream"),
        (b'{"model": "demo", "n": 0}', "n"),
        (b'{"model": "demo", "max_tokens": true}', "max_tokens"),
        (b'{"model": "demo", "stream_options": 1}', "stream_options"),
        (b'{"model": "demo", "demo": {"tokens": "x"}}', "demo.tokens"),
    ],
)
async def test_a_bad_request_is_refused_in_the_apis_shape(demo: Demo, raw: bytes, param: str | None) -> None:
    """400 with the field at fault, and no call is noted."""
    async with RawClient(demo.port) as client:
        await client.post(CHAT, raw)
        answer = await client.answer()
    assert (answer.status, answer.json()["error"]["param"]) == (400, param)
    assert demo.upstream.calls == []


async def test_other_paths_are_unknown(demo: Demo) -> None:
    """An unknown path or method is 404 in the API's shape; models are listed."""
    assert (await demo.post("/v1/other")).json()["error"]["code"] == "not_found"
    assert (await demo.get(CHAT)).status == 404
    assert [model["id"] for model in (await demo.get("/v1/models")).json()["data"]] == ["demo"]
    assert (await demo.get("/v1/models/any")).json()["id"] == "any"


async def test_a_body_over_the_limit_is_refused(demo: Demo) -> None:
    """More than 20 MiB is 413 in the API's shape."""
    async with RawClient(demo.port) as client:
        await client.post(CHAT, b" " * (21 * 2**20))
        answer = await client.answer()
    assert (answer.status, answer.json()["error"]["code"]) == (413, "request_too_large")


async def test_the_official_client_is_served(demo: Demo) -> None:
    """openai-python reads the stream and can ask for options by extra_body."""
    async with openai.AsyncOpenAI(base_url=demo.upstream.base_url, api_key="none", max_retries=0) as client:
        stream = await client.chat.completions.create(
            model="demo",
            messages=[{"role": "user", "content": "hello"}],
            stream=True,
            extra_body={"demo": {"per_second": 10_000}},
        )
        text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
    assert text == TEXT
    assert demo.upstream.calls[0].of == len(PIECES)


async def test_stopping_ends_calls_that_run() -> None:
    """A stop closes every connection at once and says so in the calls; no close is reported."""
    closes: list[DemoCall] = []
    upstream = await start_demo_upstream("127.0.0.1", 0, closes.append)
    async with RawClient(upstream.address.port) as client:
        await client.post(CHAT, body(SILENT))
        await eventually(lambda: upstream.calls)
        await upstream.stop()
        assert await client.rest() == b""
    assert [call.ended for call in upstream.calls] == [Ended.STOPPED]
    assert closes == []


async def test_an_address_in_use_is_an_error(demo: Demo) -> None:
    """Starting on a taken port raises OSError and leaves nothing behind."""
    tasks = asyncio.all_tasks()
    with pytest.raises(OSError, match="address already in use"):
        await start_demo_upstream("127.0.0.1", demo.port)
    assert asyncio.all_tasks() == tasks
