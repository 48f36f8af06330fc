"""The one module that writes to clients: heads, bodies, and the ends of streams.

A stream's bytes go straight into the transport, framed here, because a relay must hand them over without waiting.
"""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Final, NoReturn

from aiohttp import web
from aiohttp.http import HttpVersion11
from multidict import CIMultiDict

from proxy.core.headers import HeaderPair
from proxy.engine.relaying.finished import Finished
from proxy.engine.relaying.head import Ending, Head
from proxy.engine.relaying.readers import Outlet, Reader
from proxy.engine.relaying.relay import Relay
from proxy.engine.relaying.tape import FallenBehindError, Tape

HIGH_WATER: Final = 16 * 1024
"""Bytes that may wait in a socket's buffer before its reader counts as lagging."""


class BrokenOffError(ConnectionResetError):
    """An answer ends before its time, and we know why: its client left or lags, or it must not look complete."""


class SocketSink:
    """A client's socket, as a reader's sink: takes bytes at once and says when it has enough."""

    __slots__ = ("_chunked", "_transport", "_writer")

    def __init__(self, request: web.BaseRequest, *, chunked: bool) -> None:
        transport = request.transport
        if transport is None:
            raise BrokenOffError("the client has left")
        transport.set_write_buffer_limits(high=HIGH_WATER)
        self._transport = transport
        self._writer = request.writer
        self._chunked = chunked

    def write(self, data: bytes) -> bool:
        """Hand over bytes, see `engine.relaying.readers.Sink`."""
        transport = self._transport
        if transport.is_closing():
            return False
        transport.write(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)
        return transport.get_write_buffer_size() <= HIGH_WATER

    def comment(self, data: bytes) -> None:
        """Hand over a sign of life."""
        self.write(data)

    async def drained(self, deadline: float) -> None:
        """Wait until the socket takes bytes again.

        Raises:
            ConnectionError: the client left, or took nothing at all for `deadline` seconds.
        """
        if self._transport.is_closing():
            raise BrokenOffError("the client has left")
        if self._transport.get_write_buffer_size() <= HIGH_WATER:
            return
        try:
            async with asyncio.timeout(None) as scope:
                watch = _Watch(self._transport, deadline, scope)
                try:
                    await self._writer.drain()  # cancelled only for good: aiohttp can't wait for it a second time
                finally:
                    watch.end()
        except TimeoutError:
            raise BrokenOffError("the client takes nothing") from None


class _Watch:
    """Ends a scope as soon as a socket's buffer has not become smaller for `deadline` seconds."""

    __slots__ = ("_deadline", "_scope", "_timer", "_transport", "_waiting")

    def __init__(self, transport: asyncio.WriteTransport, deadline: float, scope: asyncio.Timeout) -> None:
        self._transport = transport
        self._deadline = deadline
        self._scope = scope
        self._arm()

    def _arm(self) -> None:
        self._waiting = self._transport.get_write_buffer_size()
        self._timer = asyncio.get_running_loop().call_later(self._deadline, self._look)

    def _look(self) -> None:
        if self._transport.get_write_buffer_size() < self._waiting:
            self._arm()
        else:
            self._scope.reschedule(0)

    def end(self) -> None:
        """Stop watching."""
        self._timer.cancel()


async def begin(
    request: web.BaseRequest, status: int, headers: Iterable[HeaderPair], length: int | None
) -> tuple[web.StreamResponse, SocketSink]:
    """Send an answer's head; what follows goes into the sink."""
    response = web.StreamResponse(status=status, headers=CIMultiDict(headers))
    chunked = length is None and request.version >= HttpVersion11
    if chunked:
        response.enable_chunked_encoding()
    elif length is not None:
        response.content_length = length
    else:
        response.force_close()
    await response.prepare(request)
    return response, SocketSink(request, chunked=chunked)


class Observer:
    """An observer of this replica's, who has been told nothing yet; see `engine.relaying.readers.Opening`."""

    def __init__(self, request: web.BaseRequest, headers: Iterable[HeaderPair]) -> None:
        """`headers` go before those of the stream."""
        self._request = request
        self._headers = headers
        self._response: web.StreamResponse | None = None

    async def begin(self, generation: str, headers: Sequence[HeaderPair]) -> SocketSink:  # noqa: ARG002 nobody counts
        """Send the head of the stream."""
        self._response, sink = await begin(self._request, 200, [*self._headers, *headers], None)
        return sink

    @property
    def response(self) -> web.StreamResponse:
        """What has been begun."""
        if self._response is None:
            raise RuntimeError("a stream ended that was not begun")
        return self._response


async def follow(relay: Relay | Finished, reader: Reader, sink: Outlet, deadline: float) -> None:
    """Serve one reader from the relay's tape to the end: straight through while it keeps up, else at its own pace.

    Raises:
        ConnectionError: it left, took nothing for `deadline` seconds, or fell behind what the tape keeps.
    """
    tape = relay.tape
    reader.sink = sink
    while True:
        await _catch_up(tape, reader, sink, deadline)
        if relay.ending is not None:
            return
        reader.direct = True
        await reader.woken()
        reader.direct = False


async def _catch_up(tape: Tape, reader: Reader, sink: Outlet, deadline: float) -> None:
    keeps_up = reader.cursor == tape.end and not reader.lags
    while not keeps_up:
        await sink.drained(deadline)
        reader.lags = False
        try:
            data = tape.read(reader.cursor)
        except FallenBehindError:
            raise BrokenOffError("the client fell behind the tape") from None
        reader.cursor += len(data)
        keeps_up = not data or (sink.write(data) and reader.cursor == tape.end)


def break_off() -> NoReturn:
    """End an answer so that nobody takes it for complete: the connection closes without the last chunk."""
    raise BrokenOffError("broken off on purpose")


async def answer(
    request: web.BaseRequest, relay: Relay, reader: Reader, head: Head, headers: list[HeaderPair], deadline: float
) -> web.StreamResponse:
    """Answer a model call with what its relay produces."""
    if head.body is not None:
        return web.Response(status=head.status, headers=CIMultiDict(headers), body=head.body)
    response, sink = await begin(request, head.status, headers, head.length)
    await follow(relay, reader, sink, deadline)
    if relay.ending is Ending.BROKEN:
        break_off()
    return response
