"""Helpers of the tests of the Responses API: the proxy with such a route, its calls, and the events of a stream."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from proxy.core.sse import events
from support.chat import sse
from support.client import Answer, RawClient
from support.edge import send
from support.openai_types import check_event, check_response
from support.program import config_text
from support.proxy import RunningProxy, running_proxy
from support.stops import ANYBODY, Ask
from support.upstream import Script, ScriptedUpstream, scripted_upstream
from support.wait import eventually

ROOT = "/v1/responses"
EMULATE = {"responses": "emulate", "model": "scripted"}


@asynccontextmanager
async def served(script: Script, folder: Path, **config: Any) -> AsyncIterator[tuple[RunningProxy, ScriptedUpstream]]:
    """The proxy with a route that serves the API from chat completions, in front of an upstream."""
    route = {**EMULATE, **config.pop("route", {})}
    async with scripted_upstream(script) as up:
        async with running_proxy(config_text(up.base_url, route=route, **config), folder) as proxy:
            yield proxy, up


async def create(proxy: RunningProxy, ask: Ask = ANYBODY, **fields: Any) -> dict[str, Any]:
    """Make a response; gives the object, which is as its types say."""
    answer = await send(proxy, "POST", ROOT, {"input": "Tell me.", **fields}, ask.headers())
    assert answer.status == 200, answer.body
    return checked(answer)


async def get(proxy: RunningProxy, response_id: str, ask: Ask = ANYBODY) -> dict[str, Any]:
    """The response as it is now."""
    answer = await send(proxy, "GET", f"{ROOT}/{response_id}", headers=ask.headers())
    assert answer.status == 200, answer.body
    return checked(answer)


async def cancel(proxy: RunningProxy, response_id: str, ask: Ask = ANYBODY) -> Answer:
    """The API's cancel, without a body."""
    return await send(proxy, "POST", f"{ROOT}/{response_id}/cancel", headers=ask.headers())


async def again(proxy: RunningProxy, response_id: str, after: int | None = None, ask: Ask = ANYBODY) -> bytes:
    """The response's stream read again, to the end."""
    answer = await send(proxy, "GET", watch_path(response_id, after), headers=ask.headers())
    assert (answer.status, answer.header("Content-Type")) == (200, "text/event-stream"), answer.body
    assert answer.complete
    return answer.body


def watch_path(response_id: str, after: int | None = None) -> str:
    """Where a response's stream is read again."""
    return f"{ROOT}/{response_id}?stream=true" + ("" if after is None else f"&starting_after={after}")


async def begin(client: RawClient, ask: Ask = ANYBODY, **fields: Any) -> str:
    """Start a stream; gives its response's id from the first event."""
    await client.post(ROOT, {"input": "Tell me.", "stream": True, **fields}, ask.headers())
    await client.until(b"response.created", 2)
    await client.until(b"\n\n")
    body = bytes(client.buffer).partition(b"data: ")[2].partition(b"\n\n")[0]
    response_id: str = json.loads(body)["response"]["id"]
    return response_id


async def ended(proxy: RunningProxy, response_id: str, ask: Ask = ANYBODY) -> dict[str, Any]:
    """The response, as soon as it is over."""

    async def over() -> dict[str, Any]:
        found = await get(proxy, response_id, ask)
        return {} if found["status"] in ("queued", "in_progress") else found

    return await eventually(over, what="the response is over")


def checked(answer: Answer) -> dict[str, Any]:
    """The response object of an answer, as its types say."""
    found: dict[str, Any] = answer.json()
    check_response(found)
    return found


def told(body: bytes, *, first: int = 0) -> list[dict[str, Any]]:
    """The data of each event: as its types say, named so in its line, numbered from `first` on without a gap."""
    found = []
    for number, event in enumerate(events(body), first):
        data = json.loads(event.data)
        check_event(data)
        assert (data["type"], data["sequence_number"]) == (event.type, number)
        found.append(data)
    return found


def types(found: list[dict[str, Any]]) -> list[str]:
    """The events' types without their common beginning; runs of the same one as one."""
    names: list[str] = []
    for each in found:
        name = each["type"].removeprefix("response.")
        if not names or names[-1] != name:
            names.append(name)
    return names


def text_of(response: dict[str, Any]) -> str:
    """The text of a response's messages."""
    messages = [item for item in response["output"] if item["type"] == "message"]
    return "".join(part.get("text", "") for item in messages for part in item["content"])


def tool_events(*calls: tuple[str, str, str]) -> list[bytes]:
    """The events of an upstream's answer that calls tools (id, name, arguments), the arguments in two pieces each."""

    def chunk(delta: dict[str, Any], reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        return sse({"id": "chatcmpl-tool", "object": "chat.completion.chunk", "model": "m", "choices": [choice]})

    found = []
    for index, (call_id, name, arguments) in enumerate(calls):
        begun = {"index": index, "id": call_id, "function": {"name": name, "arguments": arguments[:3]}}
        found.append(chunk({"tool_calls": [{**begun, "type": "function"}]}))
        found.append(chunk({"tool_calls": [{"index": index, "function": {"arguments": arguments[3:]}}]}))
    return [*found, chunk({}, "tool_calls"), b"data: [DONE]\n\n"]


def forget_tapes(proxy: RunningProxy) -> None:
    """Let the time pass after which nothing of ended generations is kept in memory."""
    for finished in proxy.app.engine.registry.expire(proxy.app.engine.now() + 1000):
        finished.tape.close()
