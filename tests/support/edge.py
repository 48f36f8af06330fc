"""Requests of any method to a running proxy, with any headers, each on a connection of its own."""

from typing import Any

from support.client import Answer, RawClient, request_bytes
from support.http_bytes import Headers
from support.proxy import RunningProxy
from support.tiny_server import error_of


async def send(proxy: RunningProxy, method: str, path: str, body: Any = b"", headers: Headers | None = None) -> Answer:
    """One request, and its answer."""
    async with RawClient(proxy.port) as client:
        await client.send(request_bytes(method, path, body, headers))
        return await client.answer(to_head=method == "HEAD")


def bearer(key: str) -> Headers:
    """The header that carries a caller's key."""
    return [("Authorization", f"Bearer {key}")]


def refused(answer: Answer) -> tuple[int, str]:
    """Status and code of an answer that must be an error in OpenAI's shape."""
    return answer.status, error_of(answer.body)["code"]
