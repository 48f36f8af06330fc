"""Observing through any replica: what another one runs, live, from any event on, byte for byte as there."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from support.chat import DONE, chat_events, text
from support.client import RawClient
from support.edge import refused
from support.proxy import RunningProxy
from support.redis_server import RedisServer, redis_server
from support.replicas import identity_of, known, replicas
from support.scripts import SSE, events_then_hang, sse_stream
from support.stops import Ask, call, record, settled, start, stop
from support.upstream import ScriptedUpstream, scripted_upstream
from support.wait import eventually

SAID = chat_events(8)[:-2]
PATH = "/v1/generations/t-1/events"


async def test_live(tmp_path: Path) -> None:
    """x."""
    async with redis_server(tmp_path) as redis, scripted_upstream(events_then_hang(SAID)) as up:
        async with replicas(tmp_path, up.base_url, redis.url, "ab") as (a, b):
            async with RawClient(a.port) as client, RawClient(a.port) as here, RawClient(b.port) as there:
                await start(client, "t-1")
                await client.until(b"data:", len(SAID))
                await known(b, "t-1")
                await here.get(PATH)
                await there.get(PATH)
                await here.until(b"data:", len(SAID))
                await there.until(b"data:", len(SAID))
                await stop(b, "t-1")
                x, y = await here.answer(), await there.answer()
                assert x.body == y.body
                assert (x.status, sorted(x.headers)) == (y.status, sorted(y.headers))
            assert await record(a, "t-1") == await record(b, "t-1")
