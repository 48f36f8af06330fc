"""The official `anthropic` client over async messages: its own transport, event models and accumulation, unmodified."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anthropic
import pytest
from anthropic import AsyncAnthropic, AsyncStream
from anthropic.lib.streaming import AsyncMessageStream
from anthropic.types import RawMessageStreamEvent

from support.async_messages import BODY, served
from support.chat import chat_events, sse, text
from support.proxy import RunningProxy
from support.scripts import events_then_hang, json_answer, sse_stream
from support.upstream import Script

PATH = "/v1/messages/async"
SAID = chat_events(8)[:-2]


@asynccontextmanager
async def client(script: Script, folder: Path) -> AsyncIterator[tuple[AsyncAnthropic, RunningProxy]]:
    """The client in front of the proxy, as people make it; a message `m-1` is started."""
    async with (
        served(script, folder) as (proxy, _),
        AsyncAnthropic(base_url=proxy.base_url.removesuffix("/v1"), api_key="sk-test") as sdk,
    ):
        started: Any = await sdk.post(f"{PATH}?message_id=m-1", cast_to=object, body=BODY)
        assert started["status"] == "pending"
        yield sdk, proxy


async def read(sdk: AsyncAnthropic) -> AsyncStream[RawMessageStreamEvent]:
    """The stream of the message, as the client reads its own."""
    events: Any = RawMessageStreamEvent
    return await sdk.get(
        f"{PATH}/m-1/stream", cast_to=events, stream=True, stream_cls=AsyncStream[RawMessageStreamEvent]
    )


async def test_complete(tmp_path: Path) -> None:
    """The client's message stream reads it like one of its own, to its final message."""
    tool = sse(
        {
            "choices": [
                {
                    "index": 0,
                    "delta": {
                        "tool_calls": [{"index": 0, "id": "c", "function": {"name": "f", "arguments": '{"a": 1}'}}]
                    },
                }
            ]
        }
    )
    events = [*chat_events(8)[:-2], tool, *chat_events(0, usage=True, finish="tool_calls")[1:]]
    async with client(sse_stream(events), tmp_path) as (sdk, _):
        stream = AsyncMessageStream(await read(sdk), output_format=anthropic.NOT_GIVEN)
        said = [piece async for piece in stream.text_stream]
        message = await stream.get_final_message()
    assert "".join(said) == text(8)
    assert len(said) == 8
    assert [block.type for block in message.content] == ["text", "tool_use"]
    assert message.content[1].to_dict()["input"] == {"a": 1}
    assert (message.stop_reason, message.usage.input_tokens) == ("tool_use", 7)


async def test_cancelled(tmp_path: Path) -> None:
    """A cancel is no error for the client: its stream ends, with the partial text, the reason and the usage."""
    async with client(events_then_hang(SAID), tmp_path) as (sdk, _):
        stream = AsyncMessageStream(await read(sdk), output_format=anthropic.NOT_GIVEN)
        said = 0
        async for _piece in stream.text_stream:
            said += 1
            if said == 8:
                stopped: Any = await sdk.post(f"{PATH}/m-1/cancel", cast_to=object)
        message = await stream.get_final_message()
    assert stopped["message"] == "Stream cancelled successfully"
    assert message.content[0].to_dict()["text"] == text(8)
    assert str(message.stop_reason) == "cancelled"
    assert message.usage.output_tokens > 0


async def test_errors(tmp_path: Path) -> None:
    """An error of the stream and a bad request are the client's own exceptions, with our words."""
    async with client(json_answer({"error": {"message": "Slow down."}}, 429), tmp_path) as (sdk, _):
        with pytest.raises(anthropic.APIStatusError, match="Slow down"):
            async for _event in await read(sdk):
                pass
        with pytest.raises(anthropic.UnprocessableEntityError, match="already exists"):
            await sdk.post(f"{PATH}?message_id=m-1", cast_to=object, body=BODY)
        with pytest.raises(anthropic.NotFoundError, match="Stream with message_id m-2 not found"):
            await sdk.post(f"{PATH}/m-2/cancel", cast_to=object)
