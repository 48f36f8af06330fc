"""The official `openai` client in front of the proxy: nothing of it changes, and a stop is no error for it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from openai.types.chat import ChatCompletionChunk, ChatCompletionMessageParam

from support.chat import DONE, chat_events, chat_object, sse, text
from support.program import config_text
from support.proxy import RunningProxy, running_proxy
from support.scripts import answer, events_then_hang, hang, headers_then_hang, json_answer, sse_stream
from support.stops import Ask, call, record, settled, stop
from support.upstream import Script, ScriptedUpstream, scripted_upstream

T = TypeVar("T")

KEY = "sk-test"
MESSAGES: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Tell me."}]
SAID = chat_events(8)[:-2]
"""A stream that is not over: role and eight words, no finish reason."""


@asynccontextmanager
async def served(script: Script, folder: Path, **config: Any) -> AsyncIterator[tuple[RunningProxy, ScriptedUpstream]]:
    """The proxy in front of an upstream."""
    async with scripted_upstream(script) as up, running_proxy(config_text(up.base_url, **config), folder) as proxy:
        yield proxy, up


def sdk(proxy: RunningProxy) -> AsyncOpenAI:
    """The client as people make it; it retries as it does by default."""
    return AsyncOpenAI(base_url=proxy.base_url, api_key=KEY)


async def in_thread(proxy: RunningProxy, work: Callable[[OpenAI], T]) -> T:
    """Work with the synchronous client, in a thread of its own."""

    def run() -> T:
        with OpenAI(base_url=proxy.base_url, api_key=KEY) as client:
            return work(client)

    return await asyncio.to_thread(run)


def said(chunks: list[ChatCompletionChunk], choice: int = 0) -> str:
    """The text of one choice of a stream."""
    return "".join(each.delta.content or "" for chunk in chunks for each in chunk.choices if each.index == choice)


async def test_streaming(tmp_path: Path) -> None:
    """Sync and async, a stream gives the same chunks as the upstream sent; the ids are in its response's headers."""
    async with served(sse_stream(chat_events(8, n=2)), tmp_path) as (proxy, _):

        def read(client: OpenAI) -> tuple[list[ChatCompletionChunk], str]:
            stream = client.chat.completions.create(model="m", messages=MESSAGES, stream=True, n=2)
            return list(stream), stream.response.headers["x-task-id"]

        from_sync, task_id = await in_thread(proxy, read)
        async with sdk(proxy) as client:
            stream = await client.chat.completions.create(model="m", messages=MESSAGES, stream=True, n=2)
            from_async = [chunk async for chunk in stream]
            assert stream.response.headers["x-task-id"] != task_id
            assert stream.response.headers["x-message-id"]
        await settled(proxy)
        assert (await record(proxy, task_id, Ask(KEY)))["outcome"] == "completed"
    assert from_sync == from_async
    assert [said(from_sync, choice) for choice in (0, 1)] == [text(8)] * 2
    assert [choice.finish_reason for chunk in from_sync[-2:] for choice in chunk.choices] == ["stop", "stop"]


async def test_not_streaming(tmp_path: Path) -> None:
    """Sync and async, a plain answer is the upstream's, and its raw response has the ids."""
    async with served(json_answer(chat_object(8, n=2)), tmp_path) as (proxy, _):
        from_sync = await in_thread(proxy, lambda c: c.chat.completions.create(model="m", messages=MESSAGES, n=2))
        async with sdk(proxy) as client:
            raw = await client.chat.completions.with_raw_response.create(model="m", messages=MESSAGES, n=2)
            assert raw.headers["x-task-id"]
            assert raw.parse() == from_sync
    assert from_sync.model_dump(exclude_unset=True) == chat_object(8, n=2)


@pytest.mark.parametrize("asked", [True, False], ids=["asked for", "not asked for"])
async def test_usage(tmp_path: Path, *, asked: bool) -> None:
    """With `usage: final` only a client that asked for usage sees the chunk with it; the record has it either way."""
    script = sse_stream(chat_events(8, usage=True))
    async with served(script, tmp_path, upstream={"usage": "final"}) as (proxy, up), sdk(proxy) as client:
        more: dict[str, Any] = {"stream_options": {"include_usage": True}} if asked else {}
        stream = await client.chat.completions.create(model="m", messages=MESSAGES, stream=True, **more)
        chunks = [chunk async for chunk in stream]
        await settled(proxy)
        kept = await record(proxy, stream.response.headers["x-task-id"], Ask(KEY))
    assert up.requests[0].json()["stream_options"] == {"include_usage": True}
    assert [chunk.usage.completion_tokens for chunk in chunks if chunk.usage] == ([8] if asked else [])
    assert all(chunk.choices for chunk in chunks if not chunk.usage)
    assert (kept["usage_source"], kept["prompt_tokens"], kept["completion_tokens"]) == ("upstream", 7, 8)


def tool_events() -> list[bytes]:
    """A stream that calls two tools at once, their arguments in pieces."""
    head = {"id": "c-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}

    def chunk(delta: dict[str, Any], reason: str | None = None) -> bytes:
        return sse({**head, "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]})

    def piece(index: int, arguments: str, **more: Any) -> bytes:
        function = {"arguments": arguments} | more.pop("function", {})
        return chunk({"tool_calls": [{"index": index, "function": function, **more}]})

    return [
        chunk({"role": "assistant", "content": None}),
        piece(0, "", id="call_0", type="function", function={"name": "look"}),
        piece(1, '{"at"', id="call_1", type="function", function={"name": "go"}),
        piece(0, '{"x":'),
        piece(1, ':"end"}'),
        piece(0, "1}"),
        chunk({}, "tool_calls"),
        DONE,
    ]


async def test_tools(tmp_path: Path) -> None:
    """Tool calls reach the SDK's own accumulation in order, streamed, and are counted."""
    async with served(sse_stream(tool_events()), tmp_path) as (proxy, _), sdk(proxy) as client:
        async with client.chat.completions.stream(model="m", messages=MESSAGES) as stream:
            final = await stream.get_final_completion()
        await settled(proxy)
        kept = await record(proxy, stream._response.headers["x-task-id"], Ask(KEY))
    calls = final.choices[0].message.tool_calls or []
    assert [(each.id, each.function.name, each.function.arguments) for each in calls if each.type == "function"] == [
        ("call_0", "look", '{"x":1}'),
        ("call_1", "go", '{"at":"end"}'),
    ]
    assert (kept["outcome"], kept["characters"], kept["completion_tokens"] > 0) == ("completed", 0, True)


@pytest.mark.parametrize("include_usage", [True, False], ids=["with usage", "without usage"])
async def test_stopped_while_streaming(tmp_path: Path, *, include_usage: bool) -> None:
    """A stop by another client ends the loop over the stream without an exception, with the partial text in hand."""
    async with served(events_then_hang(SAID), tmp_path) as (proxy, up):
        async with sdk(proxy) as client, sdk(proxy) as other:
            stream = await client.chat.completions.create(
                model="m",
                messages=MESSAGES,
                stream=True,
                stream_options={"include_usage": include_usage},
                extra_headers={"X-Task-Id": "chat-42"},
            )
            chunks = []
            async for chunk in stream:
                chunks.append(chunk)
                if len(chunks) == len(SAID):
                    receipt = await other.post("/generations/chat-42/cancel", cast_to=object)
        await (await up.conn()).wait_closed()
        kept = await record(proxy, "chat-42", Ask(KEY))
    assert isinstance(receipt, dict)
    assert (receipt["result"], receipt["partial"]["text"]) == ("stopped", text(8))
    assert said(chunks) == text(8)
    assert chunks[len(SAID)].choices[0].finish_reason == "stop"
    usages = [chunk.usage.completion_tokens for chunk in chunks if chunk.usage]
    assert usages == ([receipt["usage"]["completion_tokens"]] if include_usage else [])
    assert (kept["outcome"], kept["text"]) == ("cancelled", text(8))
    assert len(up.requests) == 1


async def test_stopped_while_streaming_in_a_thread(tmp_path: Path) -> None:
    """The synchronous client's loop ends the same way, also when nothing but the header has come."""
    for script, expected in ((events_then_hang(SAID), text(8)), (headers_then_hang(), "")):
        async with served(script, tmp_path) as (proxy, _):
            loop = asyncio.get_running_loop()
            begun = asyncio.Event()

            def read(client: OpenAI, loop: asyncio.AbstractEventLoop = loop, begun: asyncio.Event = begun) -> str:
                stream = client.chat.completions.create(
                    model="m", messages=MESSAGES, stream=True, extra_headers={"X-Task-Id": "t-1"}
                )
                loop.call_soon_threadsafe(begun.set)
                return said(list(stream))

            reading = asyncio.gather(in_thread(proxy, read))
            await begun.wait()
            assert (await stop(proxy, "t-1", Ask(KEY))).json()["result"] == "stopped"
            assert (await reading)[0] == expected


@pytest.mark.parametrize("stream", [True, False], ids=["streaming", "plain"])
async def test_stopped_before_the_first_byte(tmp_path: Path, *, stream: bool) -> None:
    """A stop before the header is an APIStatusError with 499, not retried by the SDK: one call reached the upstream."""
    async with served(hang(), tmp_path) as (proxy, up), sdk(proxy) as client:
        asked = client.chat.completions.create(
            model="m", messages=MESSAGES, stream=stream, extra_headers={"X-Task-Id": "t-1"}
        )
        waiting = asyncio.gather(asked, return_exceptions=True)
        conn = await up.conn()
        await stop(proxy, "t-1", Ask(KEY))
        (error,) = await waiting
        await conn.wait_closed()
        listed = (await call(proxy, "GET", "/v1/generations", ask=Ask(KEY))).json()["data"]
    assert isinstance(error, openai.APIStatusError)
    assert (error.status_code, error.code) == (499, "generation_cancelled")
    assert error.response.headers["x-task-id"] == "t-1"
    assert len(up.requests) == len(listed) == 1


async def test_the_cancel_route_from_the_sdk(tmp_path: Path) -> None:
    """`client.post` reaches every stop route; an unknown id is the SDK's NotFoundError."""
    async with served(events_then_hang(SAID), tmp_path) as (proxy, _), sdk(proxy) as client:
        stream = await client.chat.completions.create(model="m", messages=MESSAGES, stream=True)
        first = await anext(aiter(stream))
        receipt = await client.post(f"/chat/completions/{first.id}/cancel", cast_to=object, body={"reason": "enough"})
        again = await client.post(f"/generations/{stream.response.headers['x-task-id']}/cancel", cast_to=object)
        with pytest.raises(openai.NotFoundError):
            await client.post("/generations/no-such/cancel", cast_to=object)
        assert said([first, *[chunk async for chunk in stream]]) == text(8)
    assert again == receipt


async def test_refusals_of_the_upstream(tmp_path: Path) -> None:
    """The SDK raises the same errors as in front of the provider itself, and waits as long as `Retry-After` says."""
    error = {"message": "Slow down.", "type": "requests", "code": "rate_limit_exceeded", "param": None}
    script = json_answer({"error": error}, 429, [("Retry-After", "7"), ("x-should-retry", "false")])
    async with served(script, tmp_path) as (proxy, up), sdk(proxy) as client:
        for stream in (True, False):
            with pytest.raises(openai.RateLimitError) as raised:
                await client.chat.completions.create(model="m", messages=MESSAGES, stream=stream)
            assert raised.value.body == error
            assert raised.value.response.headers["retry-after"] == "7"
        assert len(up.requests) == 2
        for status, kind in ((400, openai.BadRequestError), (401, openai.AuthenticationError)):
            up.script = json_answer({"error": error}, status)
            with pytest.raises(kind):
                await client.chat.completions.create(model="m", messages=MESSAGES)


async def test_our_own_429(tmp_path: Path) -> None:
    """A full queue is a RateLimitError that says when to come again."""
    config = {"upstream": {"slots": 1, "queue": {"size": 0}}}
    async with (
        served(events_then_hang(SAID), tmp_path, **config) as (proxy, _),
        sdk(proxy).with_options(max_retries=0) as client,
    ):
        running = await client.chat.completions.create(model="m", messages=MESSAGES, stream=True)
        with pytest.raises(openai.RateLimitError) as raised:
            await client.chat.completions.create(model="m", messages=MESSAGES)
        await running.close()
    assert raised.value.code == "rate_limit_exceeded"
    assert int(raised.value.response.headers["retry-after"]) >= 1


async def test_other_endpoints(tmp_path: Path) -> None:
    """Embeddings, models, speech and transcriptions work through the SDK."""
    async with served(hang(), tmp_path) as (proxy, up), sdk(proxy) as client:
        data = [{"object": "embedding", "index": 0, "embedding": [0.5, -1.0]}]
        up.script = json_answer(
            {"object": "list", "data": data, "model": "m", "usage": {"prompt_tokens": 1, "total_tokens": 1}}
        )
        embedded = await client.embeddings.create(model="m", input="x", encoding_format="float")
        assert embedded.data[0].embedding == [0.5, -1.0]
        up.script = json_answer(
            {"object": "list", "data": [{"id": "m", "object": "model", "created": 1, "owned_by": "o"}]}
        )
        assert [model.id async for model in client.models.list()] == ["m"]
        up.script = answer(200, bytes(range(256)) * 1000, [("Content-Type", "audio/mpeg")])
        spoken = await client.audio.speech.create(model="m", voice="alloy", input="x")
        assert spoken.content == bytes(range(256)) * 1000
        up.script = json_answer({"text": "hello"})
        heard = await client.audio.transcriptions.create(model="m", file=("a.wav", b"\x00\xff" * 5000))
        assert heard.text == "hello"
        assert b"\x00\xff" * 5000 in up.requests[-1].body


async def test_a_client_that_leaves_the_loop(tmp_path: Path) -> None:
    """Leaving the loop and closing the stream, as SDK users do to stop, closes the upstream and keeps the partial."""
    async with served(events_then_hang(SAID), tmp_path) as (proxy, up), sdk(proxy) as client:
        stream = await client.chat.completions.create(model="m", messages=MESSAGES, stream=True)
        chunks = [await anext(aiter(stream)) for _ in range(3)]
        await stream.close()
        await (await up.conn()).wait_closed()
        await settled(proxy)
        kept = await record(proxy, stream.response.headers["x-task-id"], Ask(KEY))
    assert kept["outcome"] == "client_gone"
    assert kept["text"].startswith(said(chunks))
