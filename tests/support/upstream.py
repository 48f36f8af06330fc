r"""A scripted upstream: a raw server that answers byte for byte what a script says, lies and breakage included.

    async def script(conn: Conn) -> None:
        await conn.head(200, [("Content-Type", "text/event-stream")])
        await conn.chunk(b"data: one\n\n")
        await conn.wait_closed()

    async with scripted_upstream(script) as up:
        ... up.base_url, up.requests, up.conns, up.connections, up.opened

The connection is read all the time, also while a script sleeps or hangs, so that a close by the other side is seen
at once. A script that writes to a connection that is gone ends there, quietly. A script that fails fails the test.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal

from support.http_bytes import header
from support.upstream_conn import Conn, OtherSideGoneError, Script
from support.upstream_link import Link, Request
from support.wait import within

__all__ = ["Begin", "Conn", "OtherSideGoneError", "Request", "Script", "ScriptedUpstream", "scripted_upstream"]

Begin = Literal["connect", "head", "body"]


class ScriptedUpstream:
    """The server behind `scripted_upstream`: what it saw, and how to wait for it."""

    def __init__(self, script: Script, begin: Begin) -> None:
        self.script = script
        """Answers each exchange; may be replaced at any time, for the exchanges that begin later."""
        self.begin: Begin = begin
        self.port = 0
        self.scheme = "http"
        self.requests: list[Request] = []
        """Every request whose head arrived, in order, its body complete or not."""
        self.conns: list[Conn] = []
        """Every exchange that a script was begun for, in order."""
        self.opened = 0
        """How many connections were accepted in all; with TLS, failed handshakes too."""
        self.failures: list[Exception] = []
        self._links: set[Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._more = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def origin(self) -> str:
        """The address without a path."""
        return f"{self.scheme}://127.0.0.1:{self.port}"

    @property
    def base_url(self) -> str:
        """The address as a provider's base URL, with /v1."""
        return f"{self.origin}/v1"

    @property
    def connections(self) -> int:
        """How many connections are open now."""
        return len(self._links)

    async def no_connections(self) -> None:
        """Wait until no connection is open.

        Raises:
            AssertionError: there still is one after a generous while.
        """
        await within(self._idle.wait(), f"every upstream connection closed (open: {self.connections})")

    async def conn(self, index: int = 0) -> Conn:
        """Wait for an exchange by its number, from 0, and give it.

        Raises:
            AssertionError: it did not begin in time.
        """
        while len(self.conns) <= index:
            self._more.clear()
            await within(self._more.wait(), f"upstream exchange {index} (there are {len(self.conns)})")
        return self.conns[index]

    def make_link(self) -> Link:
        """A link for a connection that was just accepted (the server's protocol factory)."""
        self.opened += 1
        early = self.begin == "head"
        return Link(self.opened, self.requests, early=early, on_open=self._start, on_lost=self._lost)

    def _start(self, link: Link) -> None:
        self._links.add(link)
        self._idle.clear()
        task = asyncio.get_running_loop().create_task(self._serve(link), name=f"scripted upstream {link.number}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _lost(self, link: Link) -> None:
        self._links.discard(link)
        if not self._links:
            self._idle.set()

    async def _serve(self, link: Link) -> None:
        try:
            while await self._exchange(link):
                pass
        except OtherSideGoneError:
            pass
        except Exception as error:  # noqa: BLE001 - whatever a script raises is reported at the end of the test
            self.failures.append(error)
            link.abort()
        else:
            link.close()

    async def _exchange(self, link: Link) -> bool:
        """Serve one exchange; says whether the connection can carry another."""
        request = None if self.begin == "connect" else await link.ready.get()
        if request is None and self.begin != "connect":
            return False
        conn = Conn(link, request)
        self.conns.append(conn)
        self._more.set()
        await self.script(conn)
        return conn.reusable and request is not None and header(request.headers, "connection") != "close"

    async def stop(self) -> None:
        """End every script and connection, and wait until they are gone."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for link in set(self._links):
            link.abort()
        await self._idle.wait()


@asynccontextmanager
async def scripted_upstream(
    script: Script, *, begin: Begin = "body", tls: ssl.SSLContext | None = None, port: int = 0
) -> AsyncIterator[ScriptedUpstream]:
    """Serve on a free port of 127.0.0.1, each exchange by `script`; everything is closed at the end.

    A script begins when the request is there with its body (`begin="body"`), with its head only, or as soon as the
    connection is accepted (for upstreams that speak first, or never).

    Raises:
        ExceptionGroup: scripts failed, with what they raised.
    """
    upstream = ScriptedUpstream(script, begin)
    server = await asyncio.get_running_loop().create_server(upstream.make_link, "127.0.0.1", port, ssl=tls)
    upstream.port = server.sockets[0].getsockname()[1]
    upstream.scheme = "https" if tls else "http"
    try:
        yield upstream
    finally:
        server.close()
        await upstream.stop()
        await server.wait_closed()
    if upstream.failures:
        raise ExceptionGroup("a script of the scripted upstream failed", upstream.failures)
