"""Several replicas of the product in this process, on one bus and in front of one upstream.

async with replicas(tmp_path, up.base_url, redis.url) as (a, b, c):
    ... each is a `RunningProxy`; `a.app.engine.replica` is "a"
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from redis import Redis

from proxy.core.headers import identity_of as identity_of_headers
from proxy.stores.bus.connect import let_go
from proxy.stores.bus.names import Names
from proxy.stores.bus.port import Bus
from proxy.stores.bus.redis import CANCEL_SECONDS, RedisBus
from support.chat import chat_events
from support.program import Program, config_text, running_program
from support.proxy import RunningProxy, running_proxy
from support.redis_server import RedisServer, redis_server
from support.scripts import events_then_hang
from support.upstream import Script, ScriptedUpstream, scripted_upstream
from support.wait import eventually

SECRET = "a secret of the tests"
QUICK: dict[str, Any] = {"bus": {"lease": "4s"}, "cancellation": {"confirm_timeout": "300ms"}}
"""Replicas of which others soon know that they are dead, or say nothing."""


def bus_of(proxy: RunningProxy) -> Bus:
    """A replica's bus."""
    elsewhere = proxy.app.engine.canceller.elsewhere
    assert elsewhere is not None
    return elsewhere._bus


def replica_text(base_url: str, url: str, name: str, **config: Any) -> str:
    """The config of one replica."""
    bus = {"url": url, "secret": SECRET} | config.pop("bus", {})
    return config_text(base_url, replica=name, bus=bus, **config)


@asynccontextmanager
async def replicas(
    folder: Path, base_url: str, url: str, names: str = "abc", **config: Any
) -> AsyncIterator[list[RunningProxy]]:
    """Start a replica for each letter of `names`, and wait until all of them use the bus."""
    async with AsyncExitStack() as stack:
        started: list[RunningProxy] = []
        for name in names:
            own = folder / name
            own.mkdir()
            text = replica_text(base_url, url, name, **dict(config))
            started.append(await stack.enter_async_context(running_proxy(text, own)))
        await eventually(lambda: all(bus_of(proxy).is_up for proxy in started), what="every replica uses the bus")
        with Redis.from_url(url) as redis:
            redis.set(Names(SECRET.encode()).since, 1)  # a new directory is not complete for some seconds
        yield started


def deafen(proxy: RunningProxy) -> None:
    """Let a replica miss every letter that is sent to it from now on; what is kept for it, it finds."""
    inbox = bus_of(proxy)._inbox  # type: ignore[attr-defined] # the port has none, the bus of tests is a RedisBus
    inbox.got_letter = lambda _letter: None


async def die(bus: Bus) -> None:
    """End a replica's bus as a kill does: its lease runs out, and nobody listens."""
    assert isinstance(bus, RedisBus)
    while bus._tasks:  # the client swallows a cancellation that comes while it gives up a connection
        for task in bus._tasks:
            task.cancel()
        await asyncio.wait(bus._tasks, timeout=CANCEL_SECONDS)
    await let_go(bus._client)


def identity_of(key: str) -> str:
    """Whom a credential stands for where no keys are configured."""
    return identity_of_headers([("Authorization", f"Bearer {key}")]).identity


async def known(proxy: RunningProxy, any_id: str, identity: str = "anonymous") -> None:
    """Wait until a replica's directory knows an id."""
    await eventually(lambda: bus_of(proxy).find(identity, any_id), what=f"{any_id} is known")


@asynccontextmanager
async def joined(
    script: Script, folder: Path, names: str = "ab", **config: Any
) -> AsyncIterator[tuple[list[RunningProxy], ScriptedUpstream, RedisServer]]:
    """Replicas with a bus of their own, in front of an upstream."""
    async with redis_server(folder) as redis, scripted_upstream(script) as up:
        async with replicas(folder, up.base_url, redis.url, names, **config) as started:
            yield started, up, redis


@asynccontextmanager
async def programs(
    folder: Path, names: str = "ab", **config: Any
) -> AsyncIterator[tuple[list[Program], ScriptedUpstream, RedisServer]]:
    """Replicas as processes of their own."""
    async with AsyncExitStack() as stack:
        redis = await stack.enter_async_context(redis_server(folder))
        up = await stack.enter_async_context(scripted_upstream(events_then_hang(chat_events(8)[:-2])))
        started = []
        for name in names:
            own = folder / name
            own.mkdir()
            text = replica_text(up.base_url, redis.url, name, **QUICK | config)
            started.append(await stack.enter_async_context(running_program(text, own)))
        yield started, up, redis
