"""Helpers of the tests of async messages: the proxy with such a route, its calls, and the events of a stream."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from proxy.core.sse import events
from support.client import Answer, RawClient, request_bytes
from support.program import config_text
from support.proxy import RunningProxy, running_proxy
from support.stops import ANYBODY, Ask
from support.upstream import Script, ScriptedUpstream, scripted_upstream

ROOT = "/v1/messages/async"
ROUTE = {"dialect": "async_messages", "model": "scripted"}
BODY = {"model": "default", "max_tokens": 64, "messages": [{"role": "user", "content": "Tell me."}]}
CANCELLED = {"message": "Stream cancelled successfully"}


@asynccontextmanager
async def served(script: Script, folder: Path, **config: Any) -> AsyncIterator[tuple[RunningProxy, ScriptedUpstream]]:
    """The proxy with a route of async messages, in front of an upstream."""
    async with (
        scripted_upstream(script) as up,
        running_proxy(config_text(up.base_url, route=ROUTE, **config), folder) as proxy,
    ):
        yield proxy, up


async def send(proxy: RunningProxy, method: str, path: str, body: Any = b"", ask: Ask = ANYBODY) -> Answer:
    """One request below the root of the API, on a connection of its own."""
    async with RawClient(proxy.port) as client:
        await client.send(request_bytes(method, ROOT + path, body, ask.headers()))
        return await client.answer()


async def initiate(proxy: RunningProxy, message_id: str = "m-1", ask: Ask = ANYBODY, **more: Any) -> None:
    """Start a message."""
    answer = await send(proxy, "POST", f"?message_id={message_id}", {**BODY, **more}, ask)
    assert answer.status == 200, answer.body
    message = "Request initiated successfully"
    assert answer.json() == {"message_id": message_id, "status": "pending", "message": message}


async def stream(proxy: RunningProxy, message_id: str = "m-1", ask: Ask = ANYBODY) -> bytes:
    """The whole stream of a message, which must end properly."""
    answer = await send(proxy, "GET", f"/{message_id}/stream", ask=ask)
    assert (answer.status, answer.header("Content-Type")) == (200, "text/event-stream"), answer.body
    assert answer.complete
    return answer.body


async def status(proxy: RunningProxy, message_id: str = "m-1", ask: Ask = ANYBODY) -> dict[str, Any]:
    """The status object of a message."""
    answer = await send(proxy, "GET", f"/{message_id}/status", ask=ask)
    assert answer.status == 200, answer.body
    found: dict[str, Any] = answer.json()
    return found


def told(body: bytes) -> list[dict[str, Any]]:
    """The data of each event of a stream."""
    return [json.loads(event.data) for event in events(body)]


def text_of(body: bytes) -> str:
    """The text that a stream's deltas add up to."""
    return "".join(each["delta"]["text"] for each in told(body) if each["type"] == "content_block_delta")


def types_of(body: bytes) -> list[str]:
    """The types of a stream's events; deltas in a row count once."""
    found: list[str] = []
    for each in told(body):
        if not found or found[-1] != each["type"]:
            found.append(each["type"])
    return found


def no_stream(message_id: str) -> dict[str, Any]:
    """What is said of an id that the caller has no message with."""
    return {"detail": f"Stream with message_id {message_id} not found"}


def forget_tapes(proxy: RunningProxy) -> None:
    """Let the time pass after which nothing of ended generations is kept in memory."""
    for finished in proxy.app.engine.registry.expire(proxy.app.engine.now() + 1000):
        finished.tape.close()
