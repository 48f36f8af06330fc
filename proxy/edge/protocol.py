"""The one seam at aiohttp's server: a connection that guards itself.

aiohttp's own handler parses well and trusts its peer with time, bytes and silence. This subclass adds, and only adds:
a deadline for request heads, a bound on raw bytes (framing included), refusals in JSON that never echo the input, an
eye on peers that leave while reading is paused, and the kernel's own timeouts. It uses these inner names of aiohttp
3.14, which the tests of this file hold: `_request_count`, `_messages`, `_waiter`, `_close`, `_force_close`, `_manager`,
`_reading_paused`, `_pause_transport_reading`, `_resume_transport_reading`.
"""

import asyncio
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

from aiohttp import web
from aiohttp.http_exceptions import LineTooLong
from aiohttp.streams import StreamReader
from aiohttp.web_protocol import RequestHandler, RequestPayloadError

from proxy.core.errors import Refusal
from proxy.edge.intake import FloodError, raw_answer, respond
from proxy.engine.failures import log_failure

if TYPE_CHECKING:
    from proxy.edge.server import QuellServer

MAX_LINE: Final = 8190
MAX_FIELD: Final = 8192
"""Bytes of a request line, and of one header field. They differ so that the parser's error tells which it was."""
MAX_FIELDS: Final = 100
READ_BUFFER: Final = 32 * 1024
"""Bytes of a body that may wait unread before the socket is paused (twice that), and 1/16 of it in chunks: a flood of
one-byte chunks is so parsed in slices of about 15 ms."""
FRAMING_SLACK: Final = 64 * 1024
FRAMING_FACTOR: Final = 4
"""A body may take `FRAMING_SLACK` raw bytes and `FRAMING_FACTOR` times its content: chunks of two bytes still do."""
PEER_POLL: Final = 1.0
"""Seconds between two looks at a peer whose bytes are not being read."""

_KEEPALIVE_IDLE: Final = 30
_KEEPALIVE_INTERVAL: Final = 10
_KEEPALIVE_COUNT: Final = 3
_TCP_ESTABLISHED: Final = 1
_IP_FAMILIES: Final = (socket.AF_INET, socket.AF_INET6)


@dataclass(frozen=True, slots=True)
class Guards:
    """The bounds of one connection, in bytes and seconds."""

    header: int
    head_deadline: float
    user_timeout: float
    """How long sent bytes may stay unacknowledged, or a window closed, before the kernel drops the connection."""


class QuellProtocol(RequestHandler):
    """One connection of a client."""

    __slots__ = ("_arriving", "_cut", "_guards", "_head_bytes", "_head_timer", "_peer_timer", "_raw_bytes", "_server")

    def __init__(self, manager: "QuellServer", guards: Guards, **options: Any) -> None:
        super().__init__(manager, **options)
        self._server = manager
        self._guards = guards
        self._arriving: StreamReader | None = None
        self._cut = False
        self._head_bytes = 0
        self._raw_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = None
        self._peer_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection, or turn it away when the server is full."""
        if self._server.is_full:
            self._turn_away(cast("asyncio.Transport", transport))
            return
        super().connection_made(transport)
        self._set_kernel_timeouts()
        self._head_timer = self._loop.call_later(self._guards.head_deadline, self._head_is_late)

    def _turn_away(self, transport: asyncio.Transport) -> None:
        self._manager, self._force_close = None, True
        transport.write(raw_answer(Refusal.overloaded(1, message="The proxy has as many connections as it takes.")))
        transport.close()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Stop the timers; aiohttp cancels the running handler."""
        for timer in (self._head_timer, self._peer_timer):
            if timer is not None:
                timer.cancel()
        self._head_timer = self._peer_timer = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what came in, then count it: as part of a body or of a head."""
        if self._cut or self._close or self._force_close:
            return
        known = self._request_count
        super().data_received(data)
        if self._request_count != known:
            self._head_arrived()
        elif self._arriving is not None and not self._arriving.is_eof():
            self._count_body(self._arriving, len(data))
        elif self._head_bytes or data.strip(b"\r\n"):  # some clients end a body with an empty line too many
            self._count_head(len(data))

    def _head_arrived(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
        self._head_bytes = self._raw_bytes = 0
        before = self._arriving
        self._arriving = self._messages[-1][1]
        if before is not None and before is not self._arriving and not before.is_eof():
            # The parser failed inside this body. It forgets to tell the body, whose reader would wait for ever.
            before.set_exception(RequestPayloadError("the framing is broken"))

    def _count_body(self, body: StreamReader, size: int) -> None:
        self._raw_bytes += size
        allowed = self._guards.header + FRAMING_SLACK + FRAMING_FACTOR * body.total_bytes
        # While reading is paused the parser still holds bytes that are in no count of content.
        if self._raw_bytes > allowed and not self._reading_paused:
            self._cut = True
            body.set_exception(FloodError("far more framing than content"))

    def _count_head(self, size: int) -> None:
        self._head_bytes += size
        if self._head_timer is None:
            self._head_timer = self._loop.call_later(self._guards.head_deadline, self._head_is_late)
        if self._head_bytes > self._guards.header and self._is_idle:
            limit = self._guards.header
            self._refuse(
                Refusal.unreadable(431, "headers_too_large", f"The request's headers are longer than {limit} bytes.")
            )

    @property
    def _is_idle(self) -> bool:
        """Whether nothing is being answered, so that what we write is the next answer."""
        return not self._request_count or (self._waiter is not None and not self._waiter.done())

    def _head_is_late(self) -> None:
        self._head_timer = None
        if not self._is_idle:
            # Behind a running request: its clock starts anew, and aiohttp's idle timeout bounds it in any case.
            self._head_timer = self._loop.call_later(self._guards.head_deadline, self._head_is_late)
        elif self._head_bytes:
            self._refuse(Refusal.unreadable(408, "request_timeout", "The request's headers arrived too slowly."))
        else:
            self.force_close()

    def _refuse(self, refusal: Refusal) -> None:
        self._cut = True
        if self.transport is not None:
            self.transport.write(raw_answer(refusal))
        self.force_close()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,  # noqa: ARG002 aiohttp's signature
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 aiohttp's signature
    ) -> web.StreamResponse:
        """Answer what the parser refused, without quoting it; what the handler raises only gets here to break it off.

        Raises:
            ConnectionResetError: nothing can be answered any more.
        """
        if request.writer.output_size or isinstance(exc, ConnectionError):
            raise ConnectionResetError("nothing can be answered any more") from exc
        return respond(_refusal_of(exc))

    def log_exception(self, *args: Any, **kw: Any) -> None:  # noqa: ARG002 aiohttp's signature
        """Log what escaped aiohttp's own loop in our way; a broken request body is no failure."""
        error = kw.get("exc_info")
        if isinstance(error, BaseException) and not isinstance(error, RequestPayloadError):
            log_failure("connection.failed", error)

    def _pause_transport_reading(self) -> None:
        super()._pause_transport_reading()
        if self._peer_timer is None and self.transport is not None:
            self._peer_timer = self._loop.call_later(PEER_POLL, self._look_at_peer)

    def _resume_transport_reading(self) -> None:
        super()._resume_transport_reading()
        if self._peer_timer is not None:
            self._peer_timer.cancel()
            self._peer_timer = None

    def _look_at_peer(self) -> None:
        """Drop the connection when its peer left: with reading paused nobody would be told."""
        self._peer_timer = None
        if self.transport is None:
            return
        peer = self.transport.get_extra_info("socket")
        if _has_left(peer):
            self.transport.abort()
        else:
            self._peer_timer = self._loop.call_later(PEER_POLL, self._look_at_peer)

    def _set_kernel_timeouts(self) -> None:
        peer = self.transport.get_extra_info("socket") if self.transport is not None else None
        if peer is None or peer.family not in _IP_FAMILIES or not hasattr(socket, "TCP_USER_TIMEOUT"):
            return
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(self._guards.user_timeout * 1000))
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEPALIVE_IDLE)
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _KEEPALIVE_INTERVAL)
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _KEEPALIVE_COUNT)


def _has_left(peer: Any) -> bool:
    if peer is None or peer.family not in _IP_FAMILIES or not hasattr(socket, "TCP_INFO"):
        return False
    state: bytes = peer.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)
    return state[0] != _TCP_ESTABLISHED


def _refusal_of(error: BaseException | None) -> Refusal:
    if isinstance(error, LineTooLong):
        if error.args[1] == MAX_LINE:
            return Refusal.unreadable(414, "uri_too_long", f"The request's target is longer than {MAX_LINE} bytes.")
        return Refusal.unreadable(431, "headers_too_large", f"A header field is longer than {MAX_FIELD} bytes.")
    if error is not None and error.args == ("Too many headers received",):
        return Refusal.unreadable(431, "headers_too_large", f"The request has more than {MAX_FIELDS} headers.")
    return Refusal.unreadable(400, "invalid_request", "This is not a valid HTTP/1.1 request.")
