"""Dify's side of the tests: a route of its dialect, its requests, its events as they arrive."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from support.client import Answer, RawClient, request_bytes
from support.program import config_text
from support.proxy import RunningProxy, running_proxy
from support.stops import ANYBODY, Ask
from support.upstream import Script, ScriptedUpstream, scripted_upstream

PING = b"event: ping\n\n"
SUCCESS = {"result": "success"}


@asynccontextmanager
async def served(
    script: Script, folder: Path, *, route: dict[str, Any] | None = None, **config: Any
) -> AsyncIterator[tuple[RunningProxy, ScriptedUpstream]]:
    """A proxy whose route `/v1` speaks Dify, in front of an upstream."""
    own = {"dialect": "dify", "model": "scripted"} | (route or {})
    async with (
        scripted_upstream(script) as up,
        running_proxy(config_text(up.base_url, route=own, **config), folder) as proxy,
    ):
        yield proxy, up


def body(query: str | None = "Tell me.", user: str = "ann", **more: Any) -> dict[str, Any]:
    """A create request that streams."""
    found: dict[str, Any] = {"inputs": {}, "user": user, "response_mode": "streaming"}
    return found | ({} if query is None else {"query": query}) | more


async def send(
    proxy: RunningProxy, method: str, path: str, content: Any = b"", ask: Ask = ANYBODY, **headers: str
) -> Answer:
    """One request below the route, and its whole answer."""
    async with RawClient(proxy.port) as client:
        await client.send(request_bytes(method, f"/v1{path}", content, ask.headers(**headers)))
        return await client.answer()


async def begin(client: RawClient, path: str, content: Any, task_id: str | None = None, ask: Ask = ANYBODY) -> None:
    """Send a create request, and read nothing of its answer."""
    headers = ask.headers() if task_id is None else ask.headers(X_Task_Id=task_id)
    await client.post(f"/v1{path}", content, headers)


def said(answer: Answer | bytes) -> list[dict[str, Any]]:
    """The events of a stream, without pings; each must be one line of data and nothing else."""
    stream = answer if isinstance(answer, bytes) else answer.body
    assert stream.endswith(b"\n\n") or not stream
    found = [event for event in stream.split(b"\n\n")[:-1] if event != PING.rstrip()]
    assert all(event.startswith(b"data: {") and event.count(b"\n") == 0 for event in found)
    return [json.loads(event.removeprefix(b"data: ")) for event in found]


def text_of(events: list[dict[str, Any]]) -> str:
    """The text that the events of a message or a workflow make."""
    return "".join(
        event["data"]["text"] if event["event"] == "text_chunk" else event["answer"]
        for event in events
        if event["event"] in {"text_chunk", "message"}
    )


def error_of(answer: Answer) -> tuple[int, str, str | None]:
    """Status, code and parameter of an answer that must be Dify's error object."""
    found = answer.json()
    assert set(found) - {"params"} == {"code", "message", "status"}
    assert found["status"] == answer.status
    assert found["message"]
    return answer.status, found["code"], found.get("params")
