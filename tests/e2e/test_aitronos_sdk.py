"""The official `aitronos-sdk` in front of the proxy, unmodified: create, cancel, threads, and its classes of errors."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest
from aitronos import Aitronos, InputMessage
from aitronos.core.api_error import ApiError
from aitronos.errors import NotFoundError, UnprocessableEntityError

from support.aitronos import EDIT, KEEP, begin, events_of, served
from support.chat import chat_events, text
from support.client import RawClient
from support.proxy import RunningProxy
from support.scripts import events_then_hang, in_turn, json_answer, sse_stream
from support.stops import Ask

T = TypeVar("T")

KEY = "ak_test"
ME = Ask(KEY)
HELLO = [InputMessage(role="user", content="Hello")]
SAID = chat_events(8)[:-2]


async def in_thread(proxy: RunningProxy, work: Callable[[Aitronos], T], key: str = KEY) -> T:
    """Work with the client, as people make it, in a thread of its own."""

    def run() -> T:
        with httpx.Client() as http:  # the client does not close its own
            return work(Aitronos(api_key=key, token=key, base_url=f"http://127.0.0.1:{proxy.port}", httpx_client=http))

    return await asyncio.to_thread(run)


async def failure(proxy: RunningProxy, work: Callable[[Aitronos], Any], key: str = KEY) -> ApiError:
    """The error that a call must raise."""
    with pytest.raises(ApiError) as raised:
        await in_thread(proxy, work, key)
    return raised.value


def code(error: ApiError) -> str:
    """The API's code in an error's body."""
    found: str = error.body["error"]["code"]
    return found


async def test_create(tmp_path: Path) -> None:
    """A response is created with the client's own fields, and its thread read back through the client's models."""
    async with served(sse_stream(chat_events(3, usage=True)), tmp_path) as (proxy, _):
        found = await in_thread(
            proxy,
            lambda client: client.responses.create_response(
                inputs=HELLO, model="large", temperature=0.2, instructions="Be brief.", output_mode="text"
            ),
        )
        thread = await in_thread(proxy, lambda client: client.threads.get_thread(found["thread_id"]))
        kept = await in_thread(proxy, lambda client: client.messages.get_thread_messages(found["thread_id"]))
        listed = await in_thread(proxy, lambda client: client.threads.list_threads())
    assert found["success"] is True
    assert found["response"][0]["text"] == text(3)
    assert (thread.id, thread.message_count, thread.status) == (found["thread_id"], 2, "inactive")
    assert [each.content for each in kept.data] == ["Hello", text(3)]
    assert [each.id for each in listed.data] == [thread.id]


async def test_lists_of_choices(tmp_path: Path) -> None:
    """What can be chosen reads through the client's models."""
    async with served(sse_stream(chat_events(1)), tmp_path) as (proxy, _):
        modes = await in_thread(proxy, lambda client: client.responses.get_output_modes())
        levels = await in_thread(proxy, lambda client: client.responses.get_reasoning_levels())
        models = await in_thread(proxy, lambda client: client.models.list_models())
    assert [mode.mode for mode in modes.output_modes if mode.is_default] == ["text"]
    assert [level.level for level in levels.reasoning_levels if level.is_default] == ["medium"]
    assert [model.key for model in models.models] == ["scripted"]


@pytest.mark.parametrize(("window", "mode"), [(EDIT, "quick_edit"), (KEEP, "keep_partial")], ids=["edit", "keep"])
async def test_cancel_stream(tmp_path: Path, window: Any, mode: str) -> None:
    """The client's cancel stops a stream and reads the mode, also when it is repeated."""
    async with served(events_then_hang(SAID), tmp_path, cancellation=window) as (proxy, _):
        async with RawClient(proxy.port) as reader:
            thread_id = await begin(reader, ME)
            await reader.until(b"content_delta", 8)
            found = await in_thread(proxy, lambda client: client.responses.cancel_stream(thread_id=thread_id))
            again = await in_thread(proxy, lambda client: client.responses.cancel_stream(thread_id=thread_id))
            stream = await reader.answer()
    assert (found.success, found.cancel_mode) == (True, mode)
    assert found.user_message_deleted is found.assistant_response_deleted is (mode == "quick_edit")
    assert found.partial_content_saved is (mode == "keep_partial")
    assert again == found
    assert events_of(stream.body)[-1]["event"] == "response.cancelled"


async def test_errors(tmp_path: Path) -> None:
    """Each refusal reaches the client as its class of error, with status and code."""
    async with served(events_then_hang(SAID), tmp_path) as (proxy, up), RawClient(proxy.port) as reader:
        thread_id = await begin(reader, ME)
        unknown = await failure(proxy, lambda client: client.responses.cancel_stream(thread_id="thrd_unknown"))
        foreign = await failure(
            proxy, lambda client: client.responses.cancel_stream(thread_id=thread_id), key="ak_other"
        )
        invalid = await failure(
            proxy, lambda client: client.responses.create_response(inputs=HELLO, output_mode="json_schema")
        )
        lost = await failure(proxy, lambda client: client.messages.get_thread_messages("thrd_unknown"))
        assert len(up.requests) == 1
    assert (unknown.status_code, code(unknown)) == (404, "RESOURCE_NOT_FOUND")
    assert (foreign.status_code, code(foreign)) == (403, "INSUFFICIENT_PERMISSIONS")
    assert isinstance(invalid, UnprocessableEntityError)
    assert code(invalid) == "VALIDATION_ERROR"
    assert isinstance(lost, NotFoundError)


async def test_a_client_that_tries_again(tmp_path: Path) -> None:
    """The client tries again after an upstream's failure, and nothing of the failed try is in its way."""
    script = in_turn(json_answer({"error": {"message": "ouch"}}, 503), sse_stream(chat_events(2)))
    async with served(script, tmp_path) as (proxy, up):
        found = await in_thread(proxy, lambda client: client.responses.create_response(inputs=HELLO))
        assert len(up.requests) == 2
    assert found["response"][0]["text"] == text(2)
