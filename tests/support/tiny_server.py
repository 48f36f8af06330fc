"""A tiny handler behind the real server, for tests of what lies between the socket and a handler."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from proxy.core.errors import Refusal
from proxy.core.settings.settings import LimitsSettings
from proxy.edge.intake import read_body
from proxy.edge.server import make_runner

LIMITS = LimitsSettings(body=2**20)


class Tiny:
    """A handler with one stream that never ends by itself, one that reads its body, and a few that fail."""

    def __init__(self, body_deadline: float = LIMITS.body_deadline) -> None:
        self.body_deadline = body_deadline
        self.calls: list[str] = []
        self.streaming = asyncio.Event()
        self.left = asyncio.Event()
        self.finish = asyncio.Event()

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Serve one request, by its path."""
        self.calls.append(request.path)
        match request.path:
            case "/stream":
                return await self._stream(request)
            case "/crash":
                raise ValueError("the prompt is hunter2")
            case "/refuse":
                raise Refusal.not_found()
            case _:
                body = await read_body(request, LIMITS.body, self.body_deadline)
                return web.Response(body=b"%d bytes for %s" % (len(body), request.path.encode()))

    async def _stream(self, request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"data: 1\n\n")
        self.streaming.set()
        try:
            await self.finish.wait()
        except asyncio.CancelledError:
            self.left.set()
            if request.query_string == "write":
                await response.write(b"data: 2\n\n")
            raise
        if request.query_string == "crash":
            raise ValueError("the answer is hunter2")
        return response


@asynccontextmanager
async def serving(
    handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]], **options: Any
) -> AsyncIterator[int]:
    """Serve `handler` on a free port, which is what it gives; `options` are those of `make_runner`."""
    runner = make_runner(handler, LIMITS, shutdown_timeout=1.0, **options)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def error_of(body: bytes) -> dict[str, Any]:
    """The error object in a JSON body, which must have exactly OpenAI's fields."""
    error = json.loads(body)["error"]
    assert set(error) == {"message", "type", "code", "param"}
    return dict(error)
