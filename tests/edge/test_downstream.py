"""The socket's end of a reader: how long a client may take its time."""

import asyncio
from types import SimpleNamespace
from typing import cast

import pytest
from aiohttp import web
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_writer import StreamWriter

from proxy.edge.downstream import HIGH_WATER, BrokenOffError, SocketSink
from support.wait import within

DEADLINE = 0.05


class Socket(asyncio.Transport):
    """A transport whose buffer is as full as the test says, with aiohttp's own waiting for it to drain."""

    def __init__(self, waiting: int) -> None:
        super().__init__()
        self.waiting = waiting
        self.closing = False
        self.protocol = BaseProtocol(asyncio.get_running_loop())
        self.protocol.connection_made(self)
        if waiting > HIGH_WATER:
            self.protocol.pause_writing()

    def get_write_buffer_size(self) -> int:
        """What the test says."""
        return self.waiting

    def is_closing(self) -> bool:
        """What the test says."""
        return self.closing

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Nothing is really written here."""

    def sink(self) -> SocketSink:
        """The sink over it."""
        writer = StreamWriter(self.protocol, asyncio.get_running_loop())
        return SocketSink(cast("web.BaseRequest", SimpleNamespace(transport=self, writer=writer)), chunked=True)


async def test_a_buffer_with_room_is_no_reason_to_wait() -> None:
    """Nothing is waited for while the buffer is below its bound."""
    await within(Socket(HIGH_WATER).sink().drained(60), "it takes bytes")


async def test_whoever_takes_a_little_has_time() -> None:
    """A client that takes something in each deadline is waited for, through many of them."""
    peer = Socket(10 * HIGH_WATER)
    waiting = asyncio.gather(peer.sink().drained(DEADLINE))
    loop = asyncio.get_running_loop()
    end = loop.time() + 5 * DEADLINE
    while loop.time() < end:
        await asyncio.sleep(DEADLINE / 5)
        peer.waiting -= 1
    assert not waiting.done()
    peer.protocol.resume_writing()
    await within(waiting, "the buffer is drained")


async def test_whoever_takes_nothing_is_let_go() -> None:
    """A client that takes nothing at all for the deadline counts as gone, also when it took something before."""
    peer = Socket(10 * HIGH_WATER)
    waiting = asyncio.gather(peer.sink().drained(DEADLINE))
    await asyncio.sleep(DEADLINE / 2)
    peer.waiting -= 1
    with pytest.raises(BrokenOffError, match="takes nothing"):
        await within(waiting, "it is given up")


async def test_a_closing_socket_takes_nothing() -> None:
    """On a connection that is closing nothing is written, and nobody waits for it."""
    peer = Socket(0)
    peer.closing = True
    assert not peer.sink().write(b"data")
    with pytest.raises(BrokenOffError, match="has left"):
        await peer.sink().drained(60)
