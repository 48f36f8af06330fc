"""What all scenes share: the arena, whether it is the quick run, and opening many streams."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from bench import client
from bench.client import Connection
from bench.contestants import Arena
from bench.script import Script
from bench.table import Table

AT_ONCE = 50
"""Connections opened before the next ones wait: a burst of thousands would measure the kernel's backlog."""


@dataclass(slots=True)
class Bench:
    """One run."""

    arena: Arena
    table: Table
    quick: bool

    def size(self, full: int, quick: int) -> int:
        """How many: of the full run, or of the quick one."""
        return quick if self.quick else full


@asynccontextmanager
async def streams(
    port: int,
    number: int,
    script: Script,
    *,
    over: float = 0.0,
    group: str = "",
    receive_buffer: int = 0,
    deaf: bool = False,
) -> AsyncIterator[list[Connection]]:
    """Open so many streams within `over` seconds, and leave them at the end.

    With `group` each gets an id of its own; `receive_buffer` is the sockets', in bytes; `deaf` ones are never read.
    """
    opened: list[Connection] = []
    try:
        for first in range(0, number, AT_ONCE):
            size = min(AT_ONCE, number - first)
            batch = await asyncio.gather(*(client.connect(port, receive_buffer=receive_buffer) for _ in range(size)))
            opened += batch
            for index, connection in enumerate(batch, first):
                asked = replace(script, ident=f"{group}-{index}") if group else script
                headers = {"X-Task-Id": asked.ident} if group else {}
                if deaf:
                    connection.transport.pause_reading()
                connection.send(client.request(asked.body(), headers=headers))
                await asyncio.sleep(over / number)
        yield opened
    finally:
        for connection in opened:
            connection.close()


async def until_all_began(connections: list[Connection]) -> None:
    """Wait until every answer has begun.

    Raises:
        TimeoutError: one did not.
        ConnectionError: one was closed instead.
        RuntimeError: one was refused.
    """
    async with asyncio.timeout(client.PATIENCE):
        for connection in connections:
            await connection.began
    if refused := [connection.status for connection in connections if connection.status != 200]:
        raise RuntimeError(f"{len(refused)} of {len(connections)} calls were answered with {refused[0]}")
