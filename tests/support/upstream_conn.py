"""What a script of the scripted upstream works with: one exchange on a connection."""

import asyncio
import socket
import struct
import time
from collections.abc import Awaitable, Callable

from support.http_bytes import Headers
from support.upstream_link import Link, Request
from support.wait import PATIENCE, within


class OtherSideGoneError(ConnectionError):
    """A script wrote to a connection that is gone: that ends the script."""


class Conn:
    """One exchange on a connection: the request that came in, and the answer as the script gives it."""

    def __init__(self, link: Link, request: Request | None) -> None:
        self._link = link
        self._request = request
        self._chunked = False
        self._length: int | None = None
        self._ended = False
        self.number = link.number
        """Which connection this is, from 1; the same for exchanges that share it."""
        self.sent = bytearray()
        """The body as it was sent so far, without its framing."""
        self.sent_at: list[float] = []
        """When each piece of the body was written (`time.perf_counter`)."""

    @property
    def request(self) -> Request:
        """The request that is answered; with `begin="connect"`, the first one once its head is there."""
        request = self._request or next(iter(self._link.seen), None)
        if request is None:
            raise LookupError("no request has arrived on this connection yet")
        return request

    @property
    def closed(self) -> asyncio.Event:
        """Set as soon as the end of the connection was seen, whoever made it."""
        return self._link.closed

    @property
    def closed_at(self) -> float | None:
        """When the end of the connection was seen (`time.perf_counter`); None while it is open."""
        return self._link.closed_at

    @property
    def closed_by_us(self) -> bool:
        """True when the script (or the end of the test) closed the connection before the other side did."""
        return self._link.closed_by_us

    @property
    def stalled(self) -> bool:
        """True while the other side takes no more bytes, so that the script waits in its write."""
        return not self._link.writable.is_set()

    @property
    def reusable(self) -> bool:
        """True when the answer was sent whole, in a framing that lets the connection carry another."""
        return self._ended or (self._length is not None and self._length == len(self.sent))

    async def head(
        self, status: int = 200, headers: Headers | None = None, *, length: int | None = None, until_close: bool = False
    ) -> None:
        """Send the head; the body that follows is chunked unless `length` is given or it ends with the connection."""
        lines = [f"HTTP/1.1 {status} Scripted", *(f"{name}: {value}" for name, value in headers or [])]
        self._chunked = length is None and not until_close
        self._length = length
        if self._chunked:
            lines.append("Transfer-Encoding: chunked")
        elif length is not None:
            lines.append(f"Content-Length: {length}")
        else:
            lines.append("Connection: close")
        await self.raw("\r\n".join([*lines, "", ""]).encode("latin-1"))

    async def chunk(self, data: bytes) -> None:
        """Send a piece of the body, framed as the head said."""
        await self.raw(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)
        self.sent += data
        self.sent_at.append(time.perf_counter())

    async def raw(self, data: bytes) -> None:
        """Send bytes as they are; waits while the other side takes nothing.

        Raises:
            OtherSideGoneError: the connection is gone.
        """
        if not self.closed.is_set():
            self._link.write(data)
            await asyncio.sleep(0)
            await self._link.writable.wait()
        if self.closed.is_set():
            raise OtherSideGoneError

    async def end(self) -> None:
        """End the body properly: the last chunk, or the end of the connection where the head said so."""
        if self._chunked:
            await self.raw(b"0\r\n\r\n")
            self._ended = True
        elif self._length is None:
            self.fin()

    def fin(self) -> None:
        """Send what is still buffered and then FIN; the other side's close is still seen afterwards."""
        self._link.fin()

    def reset(self) -> None:
        """Break the connection with RST, at once."""
        plain = self._link.transport.get_extra_info("socket")
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._link.abort()

    async def body(self) -> bytes:
        """Wait for the whole request body (for scripts that begin earlier)."""
        await self.request.arrived.wait()
        return self.request.body

    async def wait_closed(
        self,
        timeout: float = PATIENCE,  # noqa: ASYNC109 - a failed wait must say what it waited for
    ) -> float:
        """Wait until the end of the connection was seen; gives when that was (`time.perf_counter`).

        Raises:
            AssertionError: it was not within `timeout` seconds.
        """
        await within(self.closed.wait(), f"upstream connection {self.number} closed by the other side", timeout)
        assert self.closed_at is not None
        return self.closed_at

    async def sleep_until_closed(self) -> None:
        """Do nothing for as long as the connection is open."""
        await self.closed.wait()

    async def pause(self, seconds: float) -> None:
        """Do nothing for some seconds, or until the connection is gone if that is earlier."""
        try:
            async with asyncio.timeout(seconds):
                await self.closed.wait()
        except TimeoutError:
            return
        raise OtherSideGoneError


Script = Callable[[Conn], Awaitable[None]]
