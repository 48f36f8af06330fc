"""The official `openai` client, unmodified, with responses: whole, streamed, in the background, left, read on, stopped.

Everything that goes over the wire is looked at strictly, beside the client, which itself checks nothing.
"""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from openai import AsyncOpenAI
from pydantic import BaseModel

from proxy.core.sse import events
from support.chat import DONE, chat_events, sse, text
from support.openai_types import check_event, check_item, check_response
from support.proxy import RunningProxy
from support.responses import served, tool_events
from support.scripts import events_then_hang, in_turn, sse_stream
from support.upstream import Script, ScriptedUpstream
from support.wait import eventually

SAID = chat_events(8)[:-2]
"""A stream that is not over: role and eight words, no finish reason."""


def said(*pieces: str) -> list[bytes]:
    """The events of an upstream's answer with this text."""
    choices: list[dict[str, Any]] = [
        {"index": 0, "delta": {"content": piece}, "finish_reason": None} for piece in pieces
    ]
    choices.append({"index": 0, "delta": {}, "finish_reason": "stop"})
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return [*(sse({**head, "choices": [choice]}) for choice in choices), DONE]


class Wiretap(httpx2.AsyncBaseTransport):
    """Passes everything on, and keeps every body."""

    def __init__(self) -> None:
        self._inner = httpx2.AsyncHTTPTransport()
        self.bodies: list[tuple[str, bytearray]] = []

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """See httpx2."""
        answer = await self._inner.handle_async_request(request)
        kept = bytearray()
        self.bodies.append((answer.headers.get("content-type", ""), kept))
        inner: Any = answer.stream

        class Tapped(httpx2.AsyncByteStream):
            async def __aiter__(self) -> AsyncIterator[bytes]:
                async for piece in inner:
                    kept.extend(piece)
                    yield piece

            async def aclose(self) -> None:
                await inner.aclose()

        return httpx2.Response(
            answer.status_code, headers=answer.headers, stream=Tapped(), extensions=answer.extensions
        )

    async def aclose(self) -> None:
        """See httpx2."""
        await self._inner.aclose()

    def check(self) -> int:
        """Look at every body that came; gives how many objects there were."""
        looked = 0
        for kind, body in self.bodies:
            found = [json.loads(event.data) for event in events(bytes(body))] if "event-stream" in kind else []
            for each in found:
                check_event(each)
            whole = {} if found or not body else json.loads(body)
            if whole.get("object") == "response" and "deleted" not in whole:
                check_response(whole)
            for item in whole.get("data", ()):
                check_item(item)
            looked += len(found) + bool(whole)
        return looked


@asynccontextmanager
async def a_client(script: Script, folder: Path) -> AsyncIterator[tuple[AsyncOpenAI, RunningProxy, ScriptedUpstream]]:
    """The client in front of the proxy; at the end everything that it was sent is looked at."""
    tap = Wiretap()
    async with served(script, folder, upstream={"usage": "final"}) as (proxy, up):
        http = httpx2.AsyncClient(transport=tap)
        async with AsyncOpenAI(base_url=proxy.base_url, api_key="sk-me", max_retries=0, http_client=http) as client:
            yield client, proxy, up
    assert tap.check()


async def test_create(tmp_path: Path) -> None:
    """A whole response, read back, listed and deleted."""
    async with a_client(sse_stream(chat_events(3, usage=True)), tmp_path) as (client, _, _up):
        made = await client.responses.create(model="m", input="Tell me.", instructions="Be brief.", metadata={"a": "b"})
        shown = await client.responses.retrieve(made.id)
        items = [item async for item in client.responses.input_items.list(made.id, limit=1)]
        await client.responses.delete(made.id)
        with pytest.raises(openai.NotFoundError):
            await client.responses.retrieve(made.id)
    assert (made.status, made.output_text) == ("completed", text(3))
    assert made.usage is not None
    assert made.usage.output_tokens == 3
    assert shown == made
    assert [item.type for item in items] == ["message"]


async def test_the_stream_helper(tmp_path: Path) -> None:
    """`responses.stream` follows a stream to its final response, and again by its id, from anywhere."""
    async with a_client(sse_stream(chat_events(3, usage=True)), tmp_path) as (client, _, _up):
        async with client.responses.stream(model="m", input="Tell me.", background=True) as stream:
            kinds = [event.type async for event in stream]
            final = await stream.get_final_response()
        async with client.responses.stream(response_id=final.id) as stream:
            assert [event.type async for event in stream] == kinds
            assert (await stream.get_final_response()).output_text == text(3)
        async with client.responses.stream(response_id=final.id, starting_after=4) as stream:
            assert [event.type async for event in stream] == kinds[5:]
    assert (final.status, final.output_text) == ("completed", text(3))


async def test_background_polling(tmp_path: Path) -> None:
    """Create, poll, and the whole text."""
    async with a_client(sse_stream(chat_events(3)), tmp_path) as (client, _, _up):
        made = await client.responses.create(model="m", input="Tell me.", background=True)
        assert made.status == "queued"

        async def over() -> bool:
            return (await client.responses.retrieve(made.id)).status == "completed"

        await eventually(over)
        assert (await client.responses.retrieve(made.id)).output_text == text(3)
        with pytest.raises(openai.BadRequestError) as raised:
            await client.responses.cancel(made.id)
    assert "Cannot cancel a completed response." in str(raised.value)


async def test_left_read_on_and_cancelled(tmp_path: Path) -> None:
    """A stream is left, read on from its position, and cancelled: both ends say `cancelled`, with the partial text."""
    async with a_client(events_then_hang(SAID), tmp_path) as (client, _, up):
        stream = await client.responses.create(model="m", input="Tell me.", background=True, stream=True)
        response_id, position = "", 0
        async for event in stream:
            position = event.sequence_number
            if event.type == "response.created":
                response_id = event.response.id
            if event.type == "response.output_text.delta":
                break
        await stream.close()
        kinds = []
        last: Any = None
        async for event in await client.responses.retrieve(response_id, stream=True, starting_after=position):
            position += 1
            assert event.sequence_number == position
            kinds.append(event.type)
            last = event
            if kinds.count("response.output_text.delta") == 7 and kinds[-1] == "response.output_text.delta":
                cancelled = await client.responses.cancel(response_id)
                await up.no_connections()
        again = await client.responses.cancel(response_id)
        shown = await client.responses.retrieve(response_id)
    assert kinds == ["response.output_text.delta"] * 7 + ["response.cancelled"]
    assert last.response["status"] == "cancelled"
    assert (cancelled.status, cancelled.output_text) == ("cancelled", text(8))
    assert again == shown == cancelled


async def test_tools_and_parsing(tmp_path: Path) -> None:
    """A round of tools through the chain, and an answer parsed into the client's own type."""

    class Weather(BaseModel):
        city: str

    script = in_turn(
        sse_stream(tool_events(("call_a", "look_up", '{"city": "Ulm"}'))),
        sse_stream(said('{"city"', ': "Ulm"}')),
    )
    async with a_client(script, tmp_path) as (client, _, up):
        first = await client.responses.create(
            model="m",
            input="Where?",
            tools=[{"type": "function", "name": "look_up", "parameters": {"type": "object"}, "strict": False}],
        )
        (called,) = first.output
        assert called.type == "function_call"
        second = await client.responses.parse(
            model="m",
            input=[{"type": "function_call_output", "call_id": called.call_id, "output": "Ulm"}],
            previous_response_id=first.id,
            text_format=Weather,
        )
        asked = json.loads(up.requests[1].body)
    assert second.output_parsed == Weather(city="Ulm")
    assert asked["response_format"]["type"] == "json_schema"
    assert [message["role"] for message in asked["messages"]] == ["user", "assistant", "tool"]


async def test_errors(tmp_path: Path) -> None:
    """Refusals reach the client as its own classes of errors."""
    async with a_client(sse_stream(chat_events(1)), tmp_path) as (client, _, _up):
        await client.responses.create(model="m", input="x")
        with pytest.raises(openai.BadRequestError) as raised:
            await client.responses.create(model="m", input="x", tools=[{"type": "web_search"}])
        with pytest.raises(openai.NotFoundError):
            await client.responses.cancel("resp_unknown")
        with pytest.raises(openai.NotFoundError):
            await client.responses.delete("resp_unknown")
    assert raised.value.param == "tools[0].type"
