"""Connections to upstreams: aiohttp's, made stricter where its own would hang, linger, or mix up answers.

It uses these inner names of aiohttp 3.14, which the tests hold: `_factory` of the connector, `_payload` of its
protocol, `_buffer`, `_buffer_offset` and `_read_nowait` of a body.
"""

import asyncio
import functools
import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Final

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.streams import StreamReader
from aiohttp.tracing import Trace

STALE_SECONDS: Final = 1.0
"""A server that closed a connection while it was idle says so within one round trip. One that breaks it later may have
begun to work on the request, which then would be billed twice if it was sent again."""


class Sending:
    """One request on its way: the connection that carries it, and whether that one had carried others before."""

    __slots__ = ("_connected", "_since", "reused", "transport")

    def __init__(self, connected: Callable[[], None]) -> None:
        """`connected` is called with each connection that the request gets (a second one when it is sent again)."""
        self._connected = connected
        self.reused = False
        self.transport: asyncio.Transport | None = None
        self._since = 0.0

    def goes(self, connection: Connection) -> None:
        """It has its connection."""
        self.transport = connection.transport
        self._since = time.monotonic()
        self._connected()

    def met_stale(self, error: Exception) -> bool:
        """Whether it broke because its connection had been closed while idle, so that the server never had it."""
        answered = isinstance(error, aiohttp.ServerDisconnectedError) and not isinstance(error.message, str)
        return self.reused and not answered and time.monotonic() - self._since < STALE_SECONDS


SENDING: Final[ContextVar[Sending]] = ContextVar("sending")
"""The request that the current task is about to send; a connector finds out through it who asks."""


class Connector(aiohttp.TCPConnector):
    """Hands out connections that are as their last answer left them, and tells the request which one it has."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._factory = functools.partial(_protocol, self._loop)

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 aiohttp's signature
    ) -> Connection:
        """See aiohttp. What came unasked on an idle connection would be taken for the next answer: it is closed."""
        sending = SENDING.get()
        while True:
            connection = await super().connect(req, traces, timeout)
            line = connection.protocol
            sending.reused = isinstance(line, Line) and line.carried
            if not (sending.reused and line is not None and line.should_close):
                if isinstance(line, Line):
                    line.carried = True
                sending.goes(connection)
                return connection
            transport = connection.transport
            connection.close()
            cut(transport)


class Line(ResponseHandler):
    """One connection. A body whose framing is malformed is told of its end, which aiohttp forgets: it would wait.

    `arrived` is called in the tick in which bytes came, when they are parsed; see `pushed.py`. `carried` says that it
    has carried a request.
    """

    arrived: Callable[[], None] | None = None
    carried = False

    def data_received(self, data: bytes) -> None:
        """See asyncio."""
        super().data_received(data)
        if self.arrived is not None:
            self.arrived()

    def connection_lost(self, exc: BaseException | None) -> None:
        """See asyncio."""
        body = self._payload
        super().connection_lost(exc)
        if body is not None and not body.is_eof() and body.exception() is None:
            body.set_exception(aiohttp.ClientPayloadError("the framing is broken"))


def _protocol(loop: asyncio.AbstractEventLoop) -> ResponseHandler:
    return Line(loop)


def cut(transport: asyncio.Transport | None) -> None:
    """Finish closing a connection now: else it stays until its peer has read everything, or closes TLS by itself."""
    if transport is not None and transport.is_closing():
        transport.abort()


def join_arrived(body: StreamReader) -> None:
    """Make one piece of all that has arrived: aiohttp keeps books for each piece, which here may be each event."""
    buffer = body._buffer  # noqa: SLF001 it has no public way
    if len(buffer) > 1 and not body._buffer_offset:  # noqa: SLF001
        whole = b"".join(buffer)
        buffer.clear()
        buffer.append(whole)


def left_over(body: StreamReader) -> bytes:
    """What had arrived before a body broke, and was not read yet: aiohttp itself gives no more of it."""
    return body._read_nowait(-1) if body._buffer else b""  # noqa: SLF001 its public methods all raise from here on
