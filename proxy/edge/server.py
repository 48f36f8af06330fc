"""The HTTP server, the same one in production and in tests: `make_runner` around a single handler."""

import asyncio
import resource
import sys
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from aiohttp import hdrs, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import HttpRequestParser, HttpVersion10, HttpVersion11, RawRequestMessage
from aiohttp.http_parser import HttpRequestParserPy
from aiohttp.streams import StreamReader
from aiohttp.web_protocol import RequestHandler

from proxy.core.errors import Refusal
from proxy.core.settings.settings import LimitsSettings
from proxy.edge.downstream import BrokenOffError
from proxy.edge.intake import OtherVersionRequest, check_request, respond
from proxy.edge.protocol import MAX_FIELD, MAX_FIELDS, MAX_LINE, READ_BUFFER, Guards, QuellProtocol
from proxy.engine.failures import log_failure

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

HEAD_DEADLINE: Final = 10.0
"""Seconds that a request head may take from its first byte, and a new connection to send that byte."""
KEEPALIVE: Final = 30.0
"""Seconds that a connection may idle between two requests."""
LINGERING: Final = 2.0
"""Seconds that the unread rest of a body is read and thrown away, so that the client sees the answer before the end."""
RESERVED_FILES: Final = 64
"""Open files kept back for the ledger, the log, the listeners and what libraries open."""

_VERSIONS: Final = (HttpVersion11, HttpVersion10)


class QuellRunner(web.ServerRunner):
    """The runner of one listener."""

    def __init__(self, server: "QuellServer", shutdown_timeout: float) -> None:
        super().__init__(server, shutdown_timeout=shutdown_timeout)
        self._quell = server
        self.before_end: Callable[[], Awaitable[None]] | None = None
        """Called when nothing more is let in: ends the answers that would never end by themselves."""

    async def shutdown(self) -> None:
        """Nothing more is let in; what is being answered ends next."""
        if self.before_end is not None:
            await self.before_end()

    def see_off(self) -> None:
        """Let each request that comes from now on be its connection's last: its answer says so, then it is closed."""
        self._quell.sees_off = True


class UnsafeParserError(RuntimeError):
    """aiohttp would parse requests with its pure-Python parser, which most request smuggling bugs were found in."""


class QuellServer(web.Server):
    """Accepts connections up to a number, checks every request, and answers for a handler that failed."""

    def __init__(
        self, handler: Handler, guards: Guards, max_connections: int, always: Mapping[str, str], **options: Any
    ) -> None:
        super().__init__(self._serve, request_factory=self._build_request, handler_cancellation=True, **options)
        self._handler = handler
        self._guards = guards
        self._max_connections = max_connections
        self._always = always
        self._open = 0
        self.sees_off = False
        """Whether each answer is its connection's last one."""

    @property
    def is_full(self) -> bool:
        """Whether a further connection must be turned away."""
        return self._open >= self._max_connections

    def __call__(self) -> QuellProtocol:
        """A protocol for one new connection."""
        return QuellProtocol(self, self._guards, loop=self._loop, **self._kwargs)

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        """Count a connection in."""
        self._open += 1
        super().connection_made(handler, transport)

    def connection_lost(self, handler: RequestHandler, exc: BaseException | None = None) -> None:
        """Count a connection out."""
        self._open -= 1
        super().connection_lost(handler, exc)

    def _build_request(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: RequestHandler,
        writer: AbstractStreamWriter,
        task: "asyncio.Task[None]",
    ) -> web.BaseRequest:
        kind = web.BaseRequest
        if message.version not in _VERSIONS:
            kind = OtherVersionRequest
            message = message._replace(version=HttpVersion11, should_close=True)
        elif self.sees_off or message.upgrade or hdrs.EXPECT in message.headers:
            # What follows is not certain to be a request: the parser drops bytes behind a refused upgrade, and a client
            # that expected 100 may or may not send its body after a refusal. A balancer that is seen off does not have
            # to find out by a reset that this process has gone.
            message = message._replace(should_close=True)
        return kind(message, payload, protocol, writer, task, self._loop)

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        response = await self._answer(request)
        if self._always and not response.prepared:
            for name, value in self._always.items():
                response.headers.setdefault(name, value)
        return response

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            check_request(request, self._guards.header)
            return await self._handler(request)
        except Refusal as refusal:
            refused = refusal
        except BrokenOffError:
            raise
        except Exception as error:
            if isinstance(error, ConnectionError) and request.transport is None:
                raise  # the client left while it was written to
            log_failure("request.failed", error)
            refused = Refusal.internal()
        if request.writer.output_size:
            raise ConnectionResetError("the answer has begun, so it can only be broken off")
        return respond(refused)


def make_runner(
    handler: Handler,
    limits: LimitsSettings,
    *,
    max_connections: int | None = None,
    head_deadline: float = HEAD_DEADLINE,
    shutdown_timeout: float = 60.0,
    always: Mapping[str, str] = MappingProxyType({}),
) -> QuellRunner:
    """The runner of one listener; add a `web.TCPSite` to it. Call it within a running loop.

    The handler gets requests that passed `check_request`. It is cancelled when its client leaves. A `Refusal` that it
    raises is answered in the default shape; any other exception is logged without its message and answered with 500.
    `always`: headers of every answer that has no other value for them, refusals included, but streams that were begun.
    `max_connections` defaults to what the limit on open files allows, one more file for each call upstream included.

    Raises:
        UnsafeParserError: aiohttp's C parser is missing or switched off.
    """
    if HttpRequestParser is HttpRequestParserPy:
        raise UnsafeParserError(
            "aiohttp runs on its pure-Python HTTP parser, which is not safe behind or in front of other proxies. "
            "Unset AIOHTTP_NO_EXTENSIONS, or install an aiohttp wheel with its C extensions."
        )
    guards = Guards(limits.header, head_deadline, limits.write_deadline)
    server = QuellServer(
        handler,
        guards,
        max_connections or affordable_connections(),
        always,
        keepalive_timeout=KEEPALIVE,
        max_line_size=MAX_LINE,
        max_field_size=MAX_FIELD,
        max_headers=MAX_FIELDS,
        read_bufsize=READ_BUFFER,
        lingering_time=LINGERING,
        auto_decompress=False,
        access_log=None,
    )
    return QuellRunner(server, shutdown_timeout)


def affordable_connections() -> int:
    """How many connections the limit on open files allows, with a call upstream on each of them, but 16 at least."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        return sys.maxsize
    return max(16, (files - RESERVED_FILES) // 2)
