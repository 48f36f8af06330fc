"""A TCP proxy in front of a server, which does what networks do: cuts answers, goes silent, is away.

async with tcp_link(database.server.port) as link:
    ... link.port, link.cut_behind(b"COMMIT"), link.audible.clear(), link.cut_all()
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from support.tls import Certificate

SSL_REQUEST: Final = b"\x00\x00\x00\x08\x04\xd2\x16\x2f"
"""What a client of PostgreSQL sends first, if it wants TLS."""


class TcpLink:
    """A running proxy."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._writers: set[asyncio.StreamWriter] = set()
        self._cut_behind = b""
        self.cuts = 0
        """How many answers were cut."""
        self.audible = asyncio.Event()
        """While it is not set nothing is passed on, and nothing is closed."""
        self.audible.set()
        self.port = 0

    def cut_behind(self, words: bytes) -> None:
        """Let a request with these words through, and cut the connection in place of its answer; none: no more."""
        self._cut_behind = words

    def cut_all(self) -> None:
        """Reset every connection."""
        for writer in list(self._writers):
            writer.transport.abort()

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass one connection on, both ways, until one side ends it."""
        with contextlib.suppress(OSError):
            there, back = await asyncio.open_connection("127.0.0.1", self._target)
            both = {writer, back}
            self._writers |= both
            doomed = asyncio.Event()
            try:
                async with asyncio.TaskGroup() as ways:
                    ways.create_task(self._pass(reader, back, doomed, asks=True))
                    ways.create_task(self._pass(there, writer, doomed, asks=False))
            except* OSError:
                pass
            finally:
                for each in both:
                    each.transport.abort()
                self._writers -= both

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, doomed: asyncio.Event, *, asks: bool
    ) -> None:
        while data := await reader.read(65536):
            await self.audible.wait()
            if asks and self._cut_behind and self._cut_behind in data:
                doomed.set()
            if not asks and doomed.is_set():
                self.cuts += 1
                break
            writer.write(data)
            await writer.drain()
        raise ConnectionResetError


class TlsFront(TcpLink):
    """A proxy that speaks TLS to those who ask for it as PostgreSQL's clients do; the server need not know any."""

    def __init__(self, target: int, certificate: Certificate) -> None:
        super().__init__(target)
        self._context = certificate.server_context()

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Agree to TLS, then pass on."""
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            assert await reader.readexactly(8) == SSL_REQUEST
            writer.write(b"S")
            await writer.start_tls(self._context)
            await super().take(reader, writer)


@asynccontextmanager
async def tcp_link(target: int, certificate: Certificate | None = None) -> AsyncIterator[TcpLink]:
    """Listen in front of a port; with a certificate, of a PostgreSQL server, by TLS only."""
    link = TcpLink(target) if certificate is None else TlsFront(target, certificate)
    server = await asyncio.start_server(link.take, "127.0.0.1", 0)
    link.port = server.sockets[0].getsockname()[1]
    try:
        yield link
    finally:
        server.close()
        link.audible.set()
        link.cut_all()
        await server.wait_closed()
