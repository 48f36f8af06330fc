"""The official `anthropic` client in front of the proxy: nothing of it changes, and a stop is no error for it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anthropic
import pytest
from anthropic import AsyncAnthropic
from anthropic.types import MessageParam

from support.chat import text
from support.messages import (
    ID,
    begun_events,
    block,
    end,
    event,
    message_events,
    served,
    start,
    text_block,
    whole,
)
from support.proxy import RunningProxy
from support.scripts import answer, events_then_hang, hang, headers_then_hang, json_answer, sse_stream
from support.stops import Ask, call, record, settled, stop
from support.upstream import Script, ScriptedUpstream

KEY = Ask("sk-test")
TURNS: list[MessageParam] = [{"role": "user", "content": "Tell me."}]
ASKED: dict[str, Any] = {"model": "m", "max_tokens": 64, "messages": TURNS}
NAMED = {"X-Task-Id": "t-1"}


@asynccontextmanager
async def client(
    script: Script, folder: Path, **config: Any
) -> AsyncIterator[tuple[AsyncAnthropic, RunningProxy, ScriptedUpstream]]:
    """The client in front of the proxy, as people make it; it retries as it does by default."""
    async with served(script, folder, **config) as (proxy, up):
        async with AsyncAnthropic(base_url=proxy.base_url.removesuffix("/v1"), api_key=KEY.key) as sdk:
            yield sdk, proxy, up


async def test_streaming(tmp_path: Path) -> None:
    """The client's stream gives the upstream's message, and its credential goes up as it came."""
    async with client(sse_stream(message_events(8)), tmp_path) as (sdk, proxy, up):
        async with sdk.messages.stream(**ASKED, extra_headers=NAMED) as stream:
            said = [piece async for piece in stream.text_stream]
            final = await stream.get_final_message()
            assert stream.response.headers["x-task-id"] == "t-1"
        await settled(proxy)
        kept = await record(proxy, "t-1", KEY)
    assert "".join(said) == text(8)
    assert (final.id, final.stop_reason, final.usage.output_tokens) == (ID, "end_turn", 8)
    assert (up.requests[0].target, up.requests[0].json()) == ("/v1/messages", {**ASKED, "stream": True})
    headers = {name.lower(): value for name, value in up.requests[0].headers}
    assert headers["authorization"] == "Bearer sk-test"
    assert headers["anthropic-version"]
    assert (kept["outcome"], kept["usage_source"], kept["upstream_id"]) == ("completed", "upstream", ID)
    assert (kept["prompt_tokens"], kept["completion_tokens"], kept["dialect"]) == (7, 8, "anthropic")


async def test_not_streaming(tmp_path: Path) -> None:
    """A plain message is the upstream's; its counts are in the record."""
    async with client(json_answer(whole(8)), tmp_path) as (sdk, proxy, _):
        found = await sdk.messages.create(**ASKED, extra_headers=NAMED)
        await settled(proxy)
        kept = await record(proxy, "t-1", KEY)
    assert found.to_dict() == whole(8)
    assert (kept["outcome"], kept["usage_source"], kept["completion_tokens"]) == ("completed", "upstream", 8)


async def test_stopped_while_streaming(tmp_path: Path) -> None:
    """A stop by another request ends the loop without an exception; the partial message is in hand, with its usage."""
    async with client(events_then_hang(begun_events(8)), tmp_path) as (sdk, proxy, up):
        async with sdk.messages.stream(**ASKED, extra_headers=NAMED) as stream:
            said = 0
            async for _ in stream.text_stream:
                said += 1
                if said == 8:
                    receipt: Any = await sdk.post("/v1/messages/t-1/cancel", cast_to=object)
            final = await stream.get_final_message()
        await up.no_connections()
        kept = await record(proxy, "t-1", KEY)
    assert receipt["result"] == "stopped"
    assert (final.content[0].to_dict()["text"], final.stop_reason) == (text(8), "end_turn")
    assert final.usage.output_tokens == kept["completion_tokens"] == receipt["usage"]["completion_tokens"] > 0
    assert (kept["outcome"], kept["prompt_tokens"], kept["usage_source"]) == ("cancelled", 7, "tokenizer")


async def test_stopped_by_the_upstreams_id_with_the_honest_word(tmp_path: Path) -> None:
    """The message's own id stops it too; with `finish_reason: cancelled` that is the client's reason to stop."""
    config: dict[str, Any] = {"cancellation": {"finish_reason": "cancelled"}}
    async with client(events_then_hang(begun_events(2)), tmp_path, **config) as (sdk, proxy, _):
        async with sdk.messages.stream(**ASKED) as stream:
            async for each in stream:
                if each.type == "content_block_delta":
                    await stop(proxy, ID, KEY)
            final = await stream.get_final_message()
    assert str(final.stop_reason) == "cancelled"


async def test_stopped_in_the_middle_of_a_tool(tmp_path: Path) -> None:
    """A block of any kind is closed: thinking without its signature, a tool's input as far as it came."""
    thought = block(0, {"type": "thinking", "thinking": "", "signature": ""}, stop=False)
    thought.append(event("content_block_delta", index=0, delta={"type": "thinking_delta", "thinking": "So far"}))
    tool = block(
        1,
        {"type": "tool_use", "id": "t", "name": "look", "input": {}},
        {"type": "input_json_delta", "partial_json": '{"at": "the e'},
        stop=False,
    )
    async with client(events_then_hang([start(), *thought, *tool]), tmp_path) as (sdk, proxy, _):
        async with sdk.messages.stream(**ASKED, extra_headers=NAMED) as stream:
            async for each in stream:
                if each.type == "input_json":
                    await stop(proxy, "t-1", KEY)
            final = await stream.get_final_message()
        kept = await record(proxy, "t-1", KEY)
    assert [each.type for each in final.content] == ["thinking", "tool_use"]
    assert final.content[0].to_dict()["thinking"] == "So far"
    assert (kept["completion_tokens"] > 0, kept["usage_source"]) == (True, "tokenizer")


async def test_stopped_before_the_first_event(tmp_path: Path) -> None:
    """Behind the header, but before `message_start`, a stop gives the client a whole message without content."""
    async with client(headers_then_hang(), tmp_path) as (sdk, proxy, _):
        stream = await sdk.messages.create(**ASKED, stream=True, extra_headers=NAMED)
        assert (await stop(proxy, "t-1", KEY)).json()["result"] == "stopped"
        types = [each.type async for each in stream]
        kept = await record(proxy, "t-1", KEY)
    assert types == ["message_start", "message_delta", "message_stop"]
    assert (kept["prompt_tokens"] > 0, kept["completion_tokens"]) == (True, 0)


@pytest.mark.parametrize("streaming", [True, False])
async def test_stopped_before_the_header(tmp_path: Path, *, streaming: bool) -> None:
    """A stop before anything came is an error for the client, once: it does not try again."""
    async with client(hang(), tmp_path) as (sdk, proxy, up):

        async def stop_it() -> None:
            await up.conn()
            await stop(proxy, "t-1", KEY)

        stopping = proxy.app.tasks.start(stop_it(), "stop it")
        with pytest.raises(anthropic.APIStatusError) as refused:
            await sdk.messages.create(**ASKED, stream=streaming, extra_headers=NAMED)
        await stopping
        assert len(up.requests) == 1
    assert refused.value.status_code == 499
    assert refused.value.response.headers["x-should-retry"] == "false"
    assert refused.value.body == {
        "type": "error",
        "error": {
            "type": "invalid_request_error",
            "message": "The generation was cancelled before it produced an answer.",
            "code": "generation_cancelled",
        },
    }


async def test_the_client_leaves(tmp_path: Path) -> None:
    """A client that closes its stream stops the upstream at once."""
    async with client(events_then_hang(begun_events(2)), tmp_path) as (sdk, proxy, up):
        stream = await sdk.messages.create(**ASKED, stream=True, extra_headers=NAMED)
        async for each in stream:
            if each.type == "content_block_delta":
                break
        await stream.close()
        await up.no_connections()
        await settled(proxy)
        kept = await record(proxy, "t-1", KEY)
    assert (kept["outcome"], kept["cause"], kept["prompt_tokens"]) == ("client_gone", "disconnect", 7)


async def test_errors_of_the_upstream(tmp_path: Path) -> None:
    """The upstream's errors are the client's own exceptions, before the stream and within it."""
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    within = [*begun_events(2), event("error", error=error["error"])]
    async with client(sse_stream(within), tmp_path) as (sdk, proxy, up):
        with pytest.raises(anthropic.APIStatusError, match="Overloaded"):
            async for _ in await sdk.messages.create(**ASKED, stream=True, extra_headers=NAMED):
                pass
        await settled(proxy)
        kept = await record(proxy, "t-1", KEY)
        up.script = json_answer(error, 400)
        with pytest.raises(anthropic.BadRequestError, match="Overloaded"):
            await sdk.messages.create(**ASKED)
    assert (kept["outcome"], kept["error_kind"], kept["text"]) == ("failed", "upstream_error", text(2))
    assert (kept["prompt_tokens"], kept["usage_source"]) == (7, "tokenizer")


async def test_our_own_errors(tmp_path: Path) -> None:
    """Refusals of ours are the client's own exceptions too, each of its kind."""
    async with client(answer(200), tmp_path) as (sdk, proxy, _):
        with pytest.raises(anthropic.NotFoundError):
            await sdk.post("/v1/messages/nobodys/cancel", cast_to=object)
        with pytest.raises(anthropic.BadRequestError, match="X-Task-Id takes"):
            await sdk.messages.create(**ASKED, extra_headers={"X-Task-Id": "?"})
        refused = (await call(proxy, "POST", "/v1/messages", b"[]")).json()
    assert refused["error"]["type"] == "invalid_request_error"
    keys = [{"id": "a", "hash": "ab" * 32}]
    async with client(answer(200), tmp_path, keys=keys) as (sdk, _, _):
        with pytest.raises(anthropic.AuthenticationError, match="authentication_error"):
            await sdk.messages.create(**ASKED)


async def test_what_breaks_on_the_way(tmp_path: Path) -> None:
    """A stream whose upstream falls silent ends with an error event, which the client raises."""
    upstream = {"timeouts": {"idle": "300ms"}}
    async with client(events_then_hang(begun_events(2)), tmp_path, upstream=upstream) as (sdk, _, _):
        with pytest.raises(anthropic.APIStatusError, match="timeout_error"):
            async for _ in await sdk.messages.create(**ASKED, stream=True):
                pass


async def test_folded_streams(tmp_path: Path) -> None:
    """With `blocking: stream` a plain message is asked for as a stream, and is what a plain answer would be."""
    folds: dict[str, Any] = {"route": {"blocking": "stream"}}
    events = [
        start(),
        *text_block(3),
        *block(
            1,
            {"type": "tool_use", "id": "t", "name": "look", "input": {}},
            {"type": "input_json_delta", "partial_json": '{"x": 1}'},
        ),
        *end(9, "tool_use"),
    ]
    async with client(sse_stream(events), tmp_path, **folds) as (sdk, proxy, up):
        found = await sdk.messages.create(**ASKED, extra_headers=NAMED)
        await settled(proxy)
        kept = await record(proxy, "t-1", KEY)
        up.script = hang()
        asked = up.requests[0].json()
    assert asked == {**ASKED, "stream": True}
    assert (found.stop_reason, found.usage.input_tokens, found.usage.output_tokens) == ("tool_use", 7, 9)
    assert found.content[0].to_dict() == {"type": "text", "text": text(3)}
    assert found.content[1].to_dict()["input"] == {"x": 1}
    assert (kept["outcome"], kept["completion_tokens"]) == ("completed", 9)


async def test_a_folded_stream_is_stopped(tmp_path: Path) -> None:
    """A plain message that is asked for as a stream can be stopped, and what came of it is kept."""
    folds: dict[str, Any] = {"route": {"blocking": "stream"}}
    async with client(events_then_hang(begun_events(8)), tmp_path, **folds) as (sdk, proxy, up):

        async def stop_it() -> None:
            await up.conn()
            while not (await record(proxy, "t-1", KEY))["characters"]:
                for relay in proxy.app.engine.registry:
                    relay.sweep(proxy.app.engine.now())
            await stop(proxy, "t-1", KEY)

        stopping = proxy.app.tasks.start(stop_it(), "stop it")
        with pytest.raises(anthropic.APIStatusError) as refused:
            await sdk.messages.create(**ASKED, extra_headers=NAMED)
        await stopping
        kept = await record(proxy, "t-1", KEY)
    assert refused.value.status_code == 499
    assert (kept["outcome"], kept["text"]) == ("cancelled", text(8))


async def test_an_error_in_a_folded_stream(tmp_path: Path) -> None:
    """An error within the stream is an error for the caller of a plain message, with the upstream's words."""
    folds: dict[str, Any] = {"route": {"blocking": "stream"}}
    error = event("error", error={"type": "overloaded_error", "message": "Overloaded"})
    async with client(sse_stream([*begun_events(2), error]), tmp_path, **folds) as (sdk, _, _):
        with pytest.raises(anthropic.InternalServerError, match="Overloaded"):
            await sdk.with_options(max_retries=0).messages.create(**ASKED)


async def test_the_rest_of_the_api(tmp_path: Path) -> None:
    """Token counts, models and batches are passed on, and leave no record."""
    batch = {"id": "b", "type": "message_batch", "processing_status": "canceling"}
    async with client(json_answer({"input_tokens": 7}), tmp_path) as (sdk, proxy, up):
        assert (await sdk.messages.count_tokens(model="m", messages=TURNS)).input_tokens == 7
        up.script = json_answer({"data": [], "has_more": False, "first_id": None, "last_id": None})
        assert (await sdk.models.list()).data == []
        up.script = json_answer(batch)
        assert (await sdk.messages.batches.cancel("b")).id == "b"
        assert (await call(proxy, "GET", "/v1/generations", ask=KEY)).json()["data"] == []
    assert [each.target.partition("?")[0] for each in up.requests] == [
        "/v1/messages/count_tokens",
        "/v1/models",
        "/v1/messages/batches/b/cancel",
    ]
