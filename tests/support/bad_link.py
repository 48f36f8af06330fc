"""A TCP link that can be cut, go silent or be slow, to stand between a replica and its bus.

async with bad_link(redis.port) as link:
    ... link.port; link.silent(); link.slow(0.2); await link.cut(); link.heal()
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

LOOK = 0.02


class BadLink:
    """Passes bytes on, or does not. Silent: connections stay open and nothing goes through, as in a partition."""

    def __init__(self, target: int) -> None:
        self.port = 0
        self._target = target
        self._open = asyncio.Event()
        self._open.set()
        self._refuses = False
        self._delay = 0.0
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def silent(self) -> None:
        """Hold back everything, both ways, of old connections and new ones."""
        self._open.clear()

    def slow(self, seconds: float) -> None:
        """Hold each piece back for so long."""
        self._delay = seconds

    async def cut(self) -> None:
        """Close all connections, and refuse new ones."""
        self._refuses = True
        for writer in list(self._writers):
            writer.transport.abort()

    def heal(self) -> None:
        """Let everything through again, also what was held back."""
        self._refuses, self._delay = False, 0.0
        self._open.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        self._writers.add(writer)
        there: asyncio.StreamWriter | None = None
        try:
            if self._refuses:
                return
            back, there = await asyncio.open_connection("127.0.0.1", self._target)
            self._writers.add(there)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pass(reader, there))
                group.create_task(self._pass(back, writer))
        except* OSError:
            pass
        finally:
            for each in (writer, there):
                if each is not None:
                    self._writers.discard(each)
                    each.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            if self._delay:
                await asyncio.sleep(self._delay)
            await self._open.wait()
            writer.write(data)
            await writer.drain()
        await self._open.wait()  # that one side has closed does not get through either
        writer.transport.abort()

    async def close(self) -> None:
        """End all connections."""
        self.heal()
        await self.cut()
        await asyncio.sleep(LOOK)


@asynccontextmanager
async def bad_link(target: int) -> AsyncIterator[BadLink]:
    """A link to a port on loopback, healthy at first."""
    link = BadLink(target)
    server = await asyncio.start_server(link.serve, "127.0.0.1", 0)
    link.port = server.sockets[0].getsockname()[1]
    try:
        yield link
    finally:
        server.close()
        await link.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(1.0):
                await server.wait_closed()
