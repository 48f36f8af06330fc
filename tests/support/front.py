"""A front proxy for tests, in each of the ways in which fronts spoil streams and stops.

async with a_front(proxy.port, Ways(hides_aborts=True)) as front:
    ... front.url
"""

import asyncio
import contextlib
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from support.http_bytes import HEAD_END

GZIP = 16 + zlib.MAX_WBITS


@dataclass(frozen=True, slots=True)
class Ways:
    """What a front does wrong; by itself nothing.

    `gathers`: it passes an answer on in pieces of so many bytes; None: as it comes. `refuses`: requests with this in
    their path are answered by the front, with `status` and `body`. `silence`: seconds without a byte after which it
    closes. `cuts`: bytes after which it closes.
    """

    gathers: int | None = None
    hides_aborts: bool = False
    takes_from_requests: frozenset[str] = frozenset()
    takes_from_answers: frozenset[str] = frozenset()
    refuses: str | None = None
    status: bytes = b"403 Forbidden"
    compresses: bool = False
    version: bytes = b"HTTP/1.1"
    server: bytes | None = None
    silence: float | None = None
    cuts: int | None = None
    body: bytes = b"<html>no</html>"


class Front:
    """A running front. Upstream it speaks HTTP/1.0, so that an answer ends with its connection."""

    def __init__(self, target: int, ways: Ways) -> None:
        self._target, self._ways = target, ways
        self._serving: set[asyncio.Task[None]] = set()
        self.port = 0

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a connection."""
        task = asyncio.ensure_future(self._serve(reader, writer))  # noqa: TID251 `end` ends it
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def end(self) -> None:
        """Close every connection."""
        serving = list(self._serving)
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, one call."""
        back: asyncio.StreamWriter | None = None
        try:
            head = await reader.readuntil(HEAD_END)
            if self._ways.refuses is not None and self._ways.refuses.encode() in head.split(b" ", 2)[1]:
                writer.write(self._refusal())
                await writer.drain()
                return
            there, back = await asyncio.open_connection("127.0.0.1", self._target)
            back.write(self._request(head) + await reader.readexactly(_length(head)))
            answering = asyncio.ensure_future(self._answer(there, writer))  # noqa: TID251 it ends below
            leaving = asyncio.ensure_future(reader.read())  # noqa: TID251 the same
            try:
                watched = {answering} if self._ways.hides_aborts else {answering, leaving}
                await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in (answering, leaving):
                    task.cancel()
                await asyncio.gather(answering, leaving, return_exceptions=True)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            for each in (writer, back):
                if each is not None:
                    each.close()

    def _refusal(self) -> bytes:
        ways = self._ways
        head = b"%b %b\r\nContent-Length: %d\r\nConnection: close" % (ways.version, ways.status, len(ways.body))
        return head + HEAD_END + ways.body

    def _request(self, head: bytes) -> bytes:
        first, *lines = head.removesuffix(HEAD_END).split(b"\r\n")
        kept = [line for line in lines if _name(line) not in {"connection", *self._ways.takes_from_requests}]
        return b"\r\n".join([first.replace(b"HTTP/1.1", b"HTTP/1.0"), *kept]) + HEAD_END

    async def _answer(self, there: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ways = self._ways
        async with asyncio.timeout(ways.silence):
            head = await there.readuntil(HEAD_END)
        first, *lines = head.removesuffix(HEAD_END).split(b"\r\n")
        dropped = {"connection", *ways.takes_from_answers}
        is_packed = ways.compresses and b"text/event-stream" in head
        dropped |= {"content-length"} if is_packed else set()
        dropped |= {"server"} if ways.server else set()
        kept = [line for line in lines if _name(line) not in dropped] + [b"Connection: close"]
        kept += [b"Content-Encoding: gzip"] if is_packed else []
        kept += [b"Server: " + ways.server] if ways.server else []
        held = b"\r\n".join([ways.version + first[8:], *kept]) + HEAD_END
        pack = zlib.compressobj(wbits=GZIP) if is_packed else None
        passed = 0
        while ways.cuts is None or passed < ways.cuts:
            async with asyncio.timeout(ways.silence):
                data = await there.read(65536)
            if not data:
                break
            passed += len(data)
            held += pack.compress(data) + pack.flush(zlib.Z_SYNC_FLUSH) if pack else data
            if ways.gathers is None or len(held) >= ways.gathers:
                self._pass(writer, held)
                held = b""
        self._pass(writer, held + (pack.flush() if pack else b""))
        with contextlib.suppress(OSError):
            await writer.drain()

    def _pass(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        if not writer.is_closing():
            writer.write(data)


def _name(line: bytes) -> str:
    return line.partition(b":")[0].decode("latin-1").strip().lower()


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        if _name(line) == "content-length":
            return int(line.partition(b":")[2])
    return 0


@asynccontextmanager
async def a_front(target: int, ways: Ways | None = None) -> AsyncIterator[Front]:
    """Listen in front of a port."""
    front = Front(target, ways or Ways())
    server = await asyncio.start_server(front.accept, "127.0.0.1", 0)
    front.port = server.sockets[0].getsockname()[1]
    try:
        yield front
    finally:
        server.close()
        await front.end()
