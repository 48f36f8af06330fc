"""The connection below the scripted upstream: reads requests all the time, notices the end of it at once."""

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any, cast

from support.http_bytes import HEAD_END, BodyReader, Headers, header, parse_head


class Request:
    """A request as it arrived; the body may still be coming in."""

    def __init__(self, start: str, headers: Headers, connection: int) -> None:
        self.method, self.target, self.version = start.split(" ", 2)
        self.headers = headers
        self.connection = connection
        """The number of the connection that it came on, from 1."""
        self.at = time.perf_counter()
        """When the head was complete (`time.perf_counter`)."""
        self.reader = BodyReader(headers, without_framing=0)
        self.arrived = asyncio.Event()
        """Set once the body is complete."""

    @property
    def body(self) -> bytes:
        """The body, without its framing, as far as it has come."""
        return bytes(self.reader.content)

    @property
    def complete(self) -> bool:
        """True once the body is complete."""
        return self.arrived.is_set()

    def header(self, name: str) -> str | None:
        """The first value of a header, or None."""
        return header(self.headers, name)

    def json(self) -> Any:
        """The body, read as JSON."""
        return json.loads(self.body)


class Link(asyncio.Protocol):
    """One accepted connection. `ready` gives the requests to answer, then None when no more can come."""

    transport: asyncio.Transport

    def __init__(
        self,
        number: int,
        log: list[Request],
        *,
        early: bool,
        on_open: Callable[["Link"], None],
        on_lost: Callable[["Link"], None],
    ) -> None:
        """`early` makes a request ready with its head instead of with its whole body."""
        self.number = number
        self.seen: list[Request] = []
        self.ready: asyncio.Queue[Request | None] = asyncio.Queue()
        self.closed = asyncio.Event()
        self.closed_at: float | None = None
        self.closed_by_us = False
        self.writable = asyncio.Event()
        self.writable.set()
        self._on_open = on_open
        self._on_lost = on_lost
        self._log = log
        self._early = early
        self._buffer = bytearray()
        self._incoming: Request | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is there: tell the server."""
        self.transport = cast("asyncio.Transport", transport)
        self._on_open(self)

    def data_received(self, data: bytes) -> None:
        """Read as many requests as are there by now."""
        self._buffer += data
        while self._read_head() and self._read_body():
            pass

    def eof_received(self) -> bool:
        """The other side sent FIN: that ends the connection for us too."""
        self._over()
        return False

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio calls it so
        """The connection is gone: let go of everybody who waits for it."""
        self._over()
        self._on_lost(self)

    def pause_writing(self) -> None:
        """The other side takes nothing."""
        self.writable.clear()

    def resume_writing(self) -> None:
        """The other side takes bytes again."""
        self.writable.set()

    def write(self, data: bytes) -> None:
        """Send bytes."""
        self.transport.write(data)

    def fin(self) -> None:
        """Send FIN behind what was written; reading goes on where the transport can do that (not with TLS)."""
        if self.transport.can_write_eof():
            self.transport.write_eof()
        else:
            self.close()

    def close(self) -> None:
        """Close the connection behind what was written."""
        self._ours()
        self.transport.close()

    def abort(self) -> None:
        """Close the connection now."""
        self._ours()
        self.transport.abort()

    def _ours(self) -> None:
        self.closed_by_us = self.closed_by_us or not self.closed.is_set()

    def _over(self) -> None:
        if not self.closed.is_set():
            self.closed_at = time.perf_counter()
            self.closed.set()
            self.ready.put_nowait(None)
            self.writable.set()

    def _read_head(self) -> bool:
        """True when a request is being read."""
        if self._incoming is None and HEAD_END in self._buffer:
            head, _, rest = bytes(self._buffer).partition(HEAD_END)
            self._buffer = bytearray(rest)
            self._incoming = Request(*parse_head(head), self.number)
            self.seen.append(self._incoming)
            self._log.append(self._incoming)
            if self._early:
                self.ready.put_nowait(self._incoming)
        return self._incoming is not None

    def _read_body(self) -> bool:
        """True when the request is complete and there may be another behind it."""
        request = self._incoming
        if request is None:
            return False
        request.reader.take(self._buffer)
        if not request.reader.complete:
            return False
        request.arrived.set()
        self._incoming = None
        if not self._early:
            self.ready.put_nowait(request)
        return True
