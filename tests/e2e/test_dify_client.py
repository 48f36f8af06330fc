"""The `dify-client` package from PyPI in front of the proxy, as it is: create, stop, chat, feedback."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from dify_client import ChatClient, CompletionClient

from support.chat import chat_events, text
from support.dify import SUCCESS, served
from support.proxy import RunningProxy
from support.scripts import events_then_hang, hang, sse_stream
from support.wait import within

T = TypeVar("T")

SAID = chat_events(8)[:-2]
"""A stream that is not over: role and eight words, no finish reason."""


async def in_thread(proxy: RunningProxy, work: Callable[[CompletionClient, ChatClient], T]) -> T:
    """Work with the package's clients, in a thread of its own."""
    completion, chat = CompletionClient("app-key"), ChatClient("app-key")
    completion.base_url = chat.base_url = proxy.base_url
    return await asyncio.to_thread(work, completion, chat)


def events(lines: Any) -> list[dict[str, Any]]:
    """The events among the lines of a stream."""
    return [json.loads(line.removeprefix(b"data: ")) for line in lines if line.startswith(b"data: ")]


async def test_blocking(tmp_path: Path) -> None:
    """A blocking completion is one JSON object."""
    async with served(sse_stream(chat_events(5)), tmp_path) as (proxy, up):

        def work(client: CompletionClient, _: ChatClient) -> Any:
            response = client.create_completion_message({"query": "Tell me."}, "blocking", "ann")
            response.raise_for_status()
            return response.json()

        found = await in_thread(proxy, work)
    assert found["answer"] == text(5)
    assert up.requests[0].json()["messages"] == [{"role": "user", "content": "Tell me."}]
    assert up.requests[0].header("Authorization") == "Bearer app-key"


async def test_streaming(tmp_path: Path) -> None:
    """A streamed completion is read line by line to its end."""
    async with served(sse_stream(chat_events(5)), tmp_path) as (proxy, _):

        def work(client: CompletionClient, _: ChatClient) -> Any:
            with client.create_completion_message({"query": "Tell me."}, "streaming", "ann") as response:
                return events(response.iter_lines())

        found = await in_thread(proxy, work)
    assert "".join(event.get("answer", "") for event in found) == text(5)
    assert [event["event"] for event in found] == [*["message"] * 5, "message_end"]


async def test_stop(tmp_path: Path) -> None:
    """A stop through the generic request, with the task id of the first event, ends the stream like a complete one."""
    async with served(events_then_hang(SAID), tmp_path) as (proxy, up):

        def work(client: CompletionClient, _: ChatClient) -> Any:
            with client.create_completion_message({"query": "Tell me."}, "streaming", "ann") as response:
                lines = response.iter_lines(chunk_size=1)
                first = events([next(lines)])[0]
                path = f"/completion-messages/{first['task_id']}/stop"
                answers = [client._send_request("POST", path, {"user": user}) for user in ("bob", "ann", "ann")]
                stops = [(answer.status_code, answer.json()) for answer in answers]
                return first, stops, events(lines)

        first, stops, rest = await in_thread(proxy, work)
        await within((await up.conn()).closed.wait(), "the upstream sees the close")
    assert stops == [(200, SUCCESS)] * 3
    assert "".join(event.get("answer", "") for event in [first, *rest]) == text(8)
    assert rest[-1]["event"] == "message_end"
    assert rest[-1]["metadata"]["usage"]["completion_tokens"] > 0


async def test_chat(tmp_path: Path) -> None:
    """A chat of two turns, its lists, its feedback and its name."""
    async with served(sse_stream(chat_events(3)), tmp_path) as (proxy, _):

        def work(_: CompletionClient, client: ChatClient) -> Any:
            first = client.create_chat_message({}, "One", "ann").json()
            conversation = first["conversation_id"]
            second = client.create_chat_message({}, "Two", "ann", "streaming", conversation)
            assert {event["conversation_id"] for event in events(second.iter_lines())} == {conversation}
            assert client.message_feedback(first["message_id"], "like", "ann").json() == SUCCESS
            assert client.rename_conversation(conversation, "Numbers", "ann").json()["name"] == "Numbers"
            listed = client.get_conversation_messages("ann", conversation, limit=5).json()
            return client.get_conversations("ann").json(), listed, client.get_application_parameters("ann").json()

        conversations, messages, parameters = await in_thread(proxy, work)
    assert [each["name"] for each in conversations["data"]] == ["Numbers"]
    assert [(each["query"], each["answer"]) for each in messages["data"]] == [("One", text(3)), ("Two", text(3))]
    assert [each["feedback"] for each in messages["data"]] == [{"rating": "like"}, None]
    assert "user_input_form" in parameters


async def test_errors(tmp_path: Path) -> None:
    """An error is an answer with its status, as the package gives it."""
    async with served(hang(), tmp_path) as (proxy, _):

        def work(client: CompletionClient, _: ChatClient) -> Any:
            response = client.create_completion_message({}, "blocking", "")
            return response.status_code, response.json()

        status, found = await in_thread(proxy, work)
    assert (status, found["code"], found["message"]) == (400, "invalid_param", "Arg user must be provided.")
