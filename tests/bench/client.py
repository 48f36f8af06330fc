"""The load generator's side of a connection: a raw protocol that counts what comes and keeps nothing unless asked.

It knows answers with a length and chunked ones, one at a time on a connection, and no more of HTTP than that.
"""

import asyncio
import socket
import time
from collections.abc import Iterator, Mapping
from typing import Final, cast

PATH: Final = "/v1/chat/completions"
END: Final = b"0\r\n\r\n"
PATIENCE: Final = 30.0
"""Seconds for anything that should take a moment."""


def request(body: bytes, path: str = PATH, method: str = "POST", headers: Mapping[str, str] | None = None) -> bytes:
    """A whole HTTP request."""
    more = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
    head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n{more}"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


class Connection(asyncio.Protocol):
    """One connection of a client. `events` and `size` count what came for the newest request, `ended` is its end."""

    def __init__(self, *, keep: bool = False) -> None:
        self._loop = asyncio.get_running_loop()
        self.transport: asyncio.Transport
        self.events = 0
        self.size = 0
        self.first_event = 0.0
        self.lost = False
        self.kept: bytearray | None = bytearray() if keep else None
        self.began: asyncio.Future[None] = self._loop.create_future()
        self.ended: asyncio.Future[None] = self._loop.create_future()
        self._expected: int | None = None
        self._head = self._tail = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection."""
        self.transport = cast("asyncio.Transport", transport)

    def send(self, data: bytes) -> float:
        """Send a request; gives the time."""
        self.events = self.size = 0
        self.first_event = 0.0
        self._expected, self._head, self._tail = None, b"", b""
        if self.kept is not None:
            self.kept.clear()
        self.began, self.ended = self._loop.create_future(), self._loop.create_future()
        now = time.monotonic()
        self.transport.write(data)
        return now

    async def ask(self, data: bytes, patience: float = PATIENCE) -> None:
        """Send a request and wait for the end of its answer.

        Raises:
            ConnectionError: the connection was lost before.
            TimeoutError: it took too long.
        """
        self.send(data)
        async with asyncio.timeout(patience):
            await self.ended

    def data_received(self, data: bytes) -> None:
        """Count, and look for the end."""
        self.size += len(data)
        if self.kept is not None:
            self.kept += data
        events = data.count(b"\n\n")
        if events:
            self.events += events
            if not self.first_event:
                self.first_event = time.monotonic()
        if self._expected is None:
            self._see_head(data)
        self._tail = data[-len(END) :] if len(data) >= len(END) else (self._tail + data)[-len(END) :]
        if self.size == self._expected or (self._expected == -1 and self._tail == END and self._is_whole()):
            _done(self.ended)

    def _see_head(self, data: bytes) -> None:
        """Learn how long the answer is: -1 means until the last chunk."""
        self._head += data
        head, border, _ = self._head.partition(b"\r\n\r\n")
        if border:
            at = head.lower().find(b"\r\ncontent-length:")
            length = -1 if at < 0 else int(head[at + 17 :].split(b"\r\n", 1)[0])
            self._expected = length if length < 0 else len(head) + len(border) + length
            _done(self.began)

    def _is_whole(self) -> bool:
        """Whether what looks like the last chunk is it. Only kept bytes can tell; the others never look like it."""
        return self.kept is None or any(not chunk for chunk in chunks(bytes(self.kept).partition(b"\r\n\r\n")[2]))

    @property
    def status(self) -> int:
        """The answer's status; 0 before it came."""
        return int(self._head[9:12]) if self._head[9:12] else 0

    def body(self) -> bytes:
        """The kept answer's body, its chunks joined."""
        head, _, rest = bytes(self.kept or b"").partition(b"\r\n\r\n")
        return b"".join(chunks(rest)) if b"chunked" in head.lower() else rest

    def connection_lost(self, error: Exception | None) -> None:
        """Tell whoever waits."""
        self.lost = True
        for future in (self.began, self.ended):
            if not future.done():
                future.set_exception(error or ConnectionResetError("the connection was closed before the end"))
                future.exception()  # whoever waits is told; nobody has to

    def close(self) -> float:
        """Leave; gives the time."""
        now = time.monotonic()
        self.transport.close()
        return now


def _done(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)


def chunks(chunked: bytes) -> Iterator[bytes]:
    """The chunks of a body as far as they came; the last one is empty."""
    at = 0
    while (line_end := chunked.find(b"\r\n", at)) > 0:
        size = int(chunked[at:line_end], 16)
        yield chunked[line_end + 2 : line_end + 2 + size]
        at = line_end + 4 + size


async def connect(port: int, *, keep: bool = False, receive_buffer: int = 0) -> Connection:
    """Connect to a port on loopback; `receive_buffer` is the socket's, in bytes, 0 the system's own choice."""
    loop = asyncio.get_running_loop()
    sock = socket.socket()
    sock.setblocking(False)
    if receive_buffer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    try:
        async with asyncio.timeout(PATIENCE):
            await loop.sock_connect(sock, ("127.0.0.1", port))
    except BaseException:
        sock.close()
        raise
    _, connection = await loop.create_connection(lambda: Connection(keep=keep), sock=sock)
    return connection


async def fetch(
    port: int, path: str, method: str = "GET", body: bytes = b"", headers: Mapping[str, str] | None = None
) -> bytes:
    """One small exchange on a connection of its own; gives the answer's body."""
    connection = await connect(port, keep=True)
    try:
        await connection.ask(request(body, path, method, headers))
        return connection.body()
    finally:
        connection.close()
