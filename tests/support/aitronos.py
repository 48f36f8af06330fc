"""Helpers of the tests of the dialect aitronos: requests, events, cancels."""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from support.chat import sse
from support.client import Answer, RawClient
from support.edge import send
from support.program import config_text
from support.proxy import RunningProxy, running_proxy
from support.stops import ANYBODY, Ask, call
from support.upstream import Script, ScriptedUpstream, scripted_upstream

RESPOND = "/v1/model/response"
DONE = b"data: [DONE]"
EDIT = {"quick_edit_window": "60s"}
KEEP = {"quick_edit_window": "0s"}


@asynccontextmanager
async def served(script: Script, folder: Path, **config: Any) -> AsyncIterator[tuple[RunningProxy, ScriptedUpstream]]:
    """The proxy with a route of the dialect in front of an upstream."""
    route = {"dialect": "aitronos", "model": "scripted", **config.pop("route", {})}
    async with scripted_upstream(script) as up:
        async with running_proxy(config_text(up.base_url, route=route, **config), folder) as proxy:
            yield proxy, up


def asks(content: Any = "Hello", **more: Any) -> dict[str, Any]:
    """A request with one user input."""
    return {"inputs": [{"role": "user", "content": content}], **more}


def events_of(body: bytes) -> list[dict[str, Any]]:
    """The events of a stream, without `[DONE]`."""
    data = [each.removeprefix(b"data: ") for each in body.split(b"\n\n") if each.startswith(b"data: ")]
    return [json.loads(each) for each in data if each != b"[DONE]"]


def names(events: Sequence[dict[str, Any]]) -> list[str]:
    """The events' names, runs of the same one as one."""
    found: list[str] = []
    for each in events:
        if not found or found[-1] != each["event"]:
            found.append(each["event"])
    return found


async def begin(client: RawClient, ask: Ask = ANYBODY, **more: Any) -> str:
    """Start a stream; gives its thread's id from the first event."""
    await client.post(RESPOND, asks(**{"stream": True, **more}), ask.headers())
    while b"\n\n" not in (body := bytes(client.buffer).partition(b"data: ")[2]):
        await client.receive()
    thread_id: str = json.loads(body.partition(b"\n\n")[0])["thread_id"]
    return thread_id


async def cancel(proxy: RunningProxy, thread_id: str, ask: Ask = ANYBODY, body: bytes = b"") -> Answer:
    """The API's cancel, without a body and a content type as its SDK sends it."""
    return await send(proxy, "POST", f"{RESPOND}/{thread_id}/cancel", body, ask.headers())


async def messages(proxy: RunningProxy, thread_id: str, ask: Ask = ANYBODY) -> list[dict[str, Any]]:
    """The messages of a thread."""
    answer = await call(proxy, "GET", f"/v1/threads/{thread_id}/messages?limit=100", ask=ask)
    assert answer.status == 200, answer.body
    found: list[dict[str, Any]] = answer.json()["data"]
    return found


def error_of(answer: Answer, status: int) -> dict[str, Any]:
    """The error of an answer that must be the full envelope."""
    assert answer.status == status, answer.body
    found = answer.json()
    assert found["success"] is False
    error: dict[str, Any] = found["error"]
    wanted = {"code", "message", "system_message", "type", "status", "details", "trace_id", "timestamp"}
    assert set(error) == wanted
    assert error["status"] == status
    assert error["timestamp"].endswith("Z")
    return error


def tool_events(call_id: str = "call_1", name: str = "look_up", arguments: str = '{"q": 1}') -> list[bytes]:
    """The events of an upstream's answer that calls one tool, its arguments in two pieces."""

    def chunk(delta: dict[str, Any], reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        return sse({"id": "chatcmpl-tool", "object": "chat.completion.chunk", "model": "m", "choices": [choice]})

    begun = {"index": 0, "id": call_id, "type": "function", "function": {"name": name, "arguments": arguments[:3]}}
    rest = {"index": 0, "function": {"arguments": arguments[3:]}}
    return [
        chunk({"role": "assistant", "content": None, "tool_calls": [begun]}),
        chunk({"tool_calls": [rest]}),
        chunk({}, "tool_calls"),
        b"data: [DONE]\n\n",
    ]


def sent(up: ScriptedUpstream, index: int = -1) -> dict[str, Any]:
    """The body of a request that reached the upstream."""
    found: dict[str, Any] = json.loads(up.requests[index].body)
    return found
