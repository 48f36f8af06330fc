"""A raw client: sends exactly the bytes a test gives it, reads answers byte for byte, and leaves in every way.

async with RawClient(port) as client:
    await client.post("/v1/chat/completions", ask())
    await client.until(b"data: ", count=3)
    client.fin()
"""

import asyncio
import json
import socket
import struct
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from support.http_bytes import HEAD_END, BodyReader, Headers, header, parse_head
from support.wait import PATIENCE


@dataclass(slots=True)
class Answer:
    """One answer as it arrived."""

    status: int
    headers: Headers
    body: bytes
    """The body without its framing, as far as it came."""
    raw: bytes
    """Every byte of the answer, head and framing included."""
    complete: bool
    """True when the body ended as its framing demands; False when the connection ended before that."""
    interim: list[int] = field(default_factory=list)
    """The statuses of the 1xx answers that came before."""
    chunk_sizes: list[int] = field(default_factory=list)
    """With chunked framing: the size of each chunk, the last one (0) included."""

    def header(self, name: str) -> str | None:
        """The first value of a header, or None."""
        return header(self.headers, name)

    def json(self) -> Any:
        """The body, read as JSON."""
        return json.loads(self.body)

    @property
    def events(self) -> list[bytes]:
        """The body cut at empty lines, each event with its ending (LF line ends only)."""
        return [event + b"\n\n" for event in self.body.split(b"\n\n")[:-1]]


class RawClient:
    """One TCP connection. Nothing is read from it unless a method that reads is being awaited."""

    def __init__(self, port: int, host: str = "127.0.0.1", *, receive_buffer: int | None = None) -> None:
        """`receive_buffer` (bytes) makes the kernel take little, so that a reader that lags is felt soon."""
        self._address = (host, port)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._socket.setblocking(False)
        if receive_buffer is not None:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.buffer = bytearray()
        """What was read and belongs to no answer yet."""
        self.ended = False
        """True once the other side's end (FIN or RST) was read."""
        self.was_reset = False
        """True when that end was an RST."""

    async def __aenter__(self) -> "RawClient":
        return await self.connect()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    async def connect(self) -> "RawClient":
        """Open the connection; whoever calls this closes it (`async with` does both)."""
        try:
            await asyncio.get_running_loop().sock_connect(self._socket, self._address)
        except BaseException:
            self._socket.close()
            raise
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self

    @property
    def local_port(self) -> int:
        """The port on this side."""
        port: int = self._socket.getsockname()[1]
        return port

    async def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        await asyncio.get_running_loop().sock_sendall(self._socket, data)

    async def post(self, path: str, body: Any = b"", headers: Headers | None = None) -> None:
        """Send a POST; a body that is not bytes is sent as JSON. Reads nothing."""
        await self.send(request_bytes("POST", path, body, headers))

    async def get(self, path: str, headers: Headers | None = None) -> None:
        """Send a GET. Reads nothing."""
        await self.send(request_bytes("GET", path, b"", headers))

    async def receive(self, limit: int = 65536) -> bytes:
        """Read once, at most `limit` bytes; empty at the other side's end. What is read is kept in `buffer` too."""
        if self.ended:
            return b""
        try:
            async with asyncio.timeout(PATIENCE):
                data = await asyncio.get_running_loop().sock_recv(self._socket, limit)
        except ConnectionResetError:
            data, self.was_reset = b"", True
        except TimeoutError as error:
            raise AssertionError(f"nothing came for {PATIENCE:g} s; read so far: {bytes(self.buffer)!r}") from error
        self.ended = not data
        self.buffer += data
        return data

    async def until(self, marker: bytes, count: int = 1) -> bytes:
        """Read until `marker` was there `count` times; gives everything read and takes nothing out of `buffer`.

        Raises:
            AssertionError: the other side ended the connection before that, or fell silent.
        """
        while self.buffer.count(marker) < count:
            await self.receive()
            if self.ended and self.buffer.count(marker) < count:
                raise AssertionError(f"connection ended before {count} x {marker!r}: {bytes(self.buffer)!r}")
        return bytes(self.buffer)

    async def rest(self) -> bytes:
        """Read to the other side's end; gives everything that is in no answer."""
        while not self.ended:
            await self.receive()
        return bytes(self.buffer)

    async def answer(self, *, to_head: bool = False) -> Answer:
        """Read one whole answer (or what there is of it when the connection ends); `to_head`: a HEAD was sent.

        Bytes behind the answer stay in `buffer`, for the next one.

        Raises:
            AssertionError: the connection ended, or fell silent, before the head was complete.
        """
        interim: list[int] = []
        raw = bytearray()
        while True:
            await self.until(HEAD_END)
            head, _, rest = bytes(self.buffer).partition(HEAD_END)
            raw += head + HEAD_END
            self.buffer = bytearray(rest)
            start, headers = parse_head(head)
            status = int(start.split(" ")[1])
            if status >= 200 or status == 101:
                break
            interim.append(status)
        bodiless = to_head or status in {101, 204, 304}
        reader = BodyReader([] if bodiless else headers, without_framing=0 if bodiless else None)
        await self._read_body(reader, raw)
        sizes = reader.chunks.sizes if reader.chunks else []
        return Answer(status, headers, bytes(reader.content), bytes(raw), reader.complete, interim, sizes)

    async def _read_body(self, reader: BodyReader, raw: bytearray) -> None:
        while not reader.complete:
            before = bytes(self.buffer)
            reader.take(self.buffer)
            raw += before[: len(before) - len(self.buffer)]
            if reader.complete:
                return
            if self.ended:
                reader.end_of_connection()
                raw += self.buffer
                self.buffer.clear()
                return
            await self.receive()

    def half_close(self) -> None:
        """Send FIN and go on reading."""
        self._socket.shutdown(socket.SHUT_WR)

    def fin(self) -> None:
        """Leave with FIN. What came in is read away first: the kernel would make an RST of the FIN otherwise."""
        try:
            while self._socket.recv(65536):
                pass
        except (BlockingIOError, ConnectionResetError):
            pass
        self._socket.close()

    def reset(self) -> None:
        """Leave with RST."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()


def request_bytes(method: str, path: str, body: Any = b"", headers: Headers | None = None) -> bytes:
    """A well-formed request as bytes; a body that is not bytes is sent as JSON. Given headers go before the usual ones.

    To send several on one connection without waiting, send them joined.
    """
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    given = list(headers or [])
    names = {name.lower() for name, _ in given}
    usual = [("Host", "127.0.0.1")]
    if content or method == "POST":
        usual += [("Content-Type", "application/json"), ("Content-Length", str(len(content)))]
    if "transfer-encoding" in names:
        names.add("content-length")
    lines = [f"{name}: {value}" for name, value in given + [(n, v) for n, v in usual if n.lower() not in names]]
    return "\r\n".join([f"{method} {path} HTTP/1.1", *lines, "", ""]).encode("latin-1") + content
