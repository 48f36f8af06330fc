"""Tests of proxy.engine.upstreams.connections.join_arrived: what has arrived is read in one go, and nothing is lost."""

import asyncio

from aiohttp.base_protocol import BaseProtocol
from aiohttp.streams import StreamReader

from proxy.engine.upstreams.connections import join_arrived


async def test_many_small_pieces_become_one() -> None:
    """Chunks that arrived together are one piece, and reading it settles aiohttp's books for all of them."""
    loop = asyncio.get_running_loop()
    body = StreamReader(BaseProtocol(loop), 2**16, loop=loop)
    for number in range(100):
        body.begin_http_chunk_receiving()
        body.feed_data(b"%d," % number)
        body.end_http_chunk_receiving()
    join_arrived(body)
    assert len(body._buffer) == 1
    assert body.read_nowait() == b"".join(b"%d," % number for number in range(100))
    assert (body._size, body._cursor, len(body._buffer)) == (0, body.total_bytes, 0)
    assert len(body._http_chunk_splits or ()) <= 1


async def test_a_piece_that_was_read_in_part_is_left_as_it_is() -> None:
    """The part of a piece that was read already does not come again."""
    loop = asyncio.get_running_loop()
    body = StreamReader(BaseProtocol(loop), 2**16, loop=loop)
    body.feed_data(b"abc")
    body.feed_data(b"def")
    assert await body.read(1) == b"a"
    join_arrived(body)
    assert body.read_nowait() == b"bcdef"
