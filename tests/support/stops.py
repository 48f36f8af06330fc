"""Helpers of the stop tests: model calls with a chosen id, stops from another connection, and records."""

import asyncio
from dataclasses import dataclass
from typing import Any

from support.client import Answer, RawClient
from support.proxy import RunningProxy

STREAM = {"model": "scripted", "stream": True, "messages": [{"role": "user", "content": "Tell me."}]}
PLAIN = {"model": "scripted", "messages": [{"role": "user", "content": "Tell me."}]}
CHAT = "/v1/chat/completions"


@dataclass(frozen=True, slots=True)
class Ask:
    """Who asks: a credential, or none."""

    key: str | None = None

    def headers(self, **more: str) -> list[tuple[str, str]]:
        """The headers of a request of this caller; underscores in names become dashes."""
        own = [("Authorization", f"Bearer {self.key}")] if self.key else []
        return own + [(name.replace("_", "-"), value) for name, value in more.items()]


ANYBODY = Ask()


async def call(
    proxy: RunningProxy, method: str, path: str, body: Any = b"", ask: Ask = ANYBODY, **headers: str
) -> Answer:
    """One request on a connection of its own."""
    async with RawClient(proxy.port) as client:
        if method == "GET":
            await client.get(path, ask.headers(**headers))
        else:
            await client.post(path, body, ask.headers(**headers))
        return await client.answer()


async def stop(proxy: RunningProxy, any_id: str, ask: Ask = ANYBODY, body: Any = b"") -> Answer:
    """Stop a generation through the native route."""
    return await call(proxy, "POST", f"/v1/generations/{any_id}/cancel", body, ask)


async def record(proxy: RunningProxy, any_id: str, ask: Ask = ANYBODY) -> dict[str, Any]:
    """The record of a generation."""
    answer = await call(proxy, "GET", f"/v1/generations/{any_id}", ask=ask)
    assert answer.status == 200, answer.body
    found: dict[str, Any] = answer.json()
    return found


async def start(client: RawClient, task_id: str, body: Any = None, ask: Ask = ANYBODY) -> None:
    """Send a model call with a chosen id, and read nothing of its answer."""
    await client.post(CHAT, STREAM if body is None else body, ask.headers(X_Task_Id=task_id))


async def settled(proxy: RunningProxy) -> None:
    """Wait until no generation lives."""
    async with asyncio.timeout(10):
        await proxy.app.engine.settle_all()
