"""A replica that is cut off from the bus, or has a slow one: its streams go on, and no stop is lost."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from support.bad_link import BadLink, bad_link
from support.chat import chat_events
from support.client import RawClient
from support.edge import refused, send
from support.program import running_program
from support.proxy import RunningProxy
from support.replicas import QUICK, bus_of, joined, replica_text
from support.scripts import events_then_hang
from support.stops import call, start, stop
from support.upstream import ScriptedUpstream
from support.wait import eventually

SAID = chat_events(8)[:-2]
"""A stream that is not over."""
LEASE = 4.0
STREAMS = 12


@asynccontextmanager
async def cut_off(folder: Path, number: int) -> AsyncIterator[tuple[Any, RunningProxy, BadLink, ScriptedUpstream]]:
    """A replica behind a link of its own, which runs so many streams, and another one."""
    async with joined(events_then_hang(SAID), folder, "b", **QUICK) as ((b,), up, redis), AsyncExitStack() as stack:
        link = await stack.enter_async_context(bad_link(redis.port))
        own = folder / "a"
        own.mkdir()
        text = replica_text(up.base_url, f"redis://127.0.0.1:{link.port}/0", "a", **QUICK)
        a = await stack.enter_async_context(running_program(text, own))
        for index in range(number):
            client = await stack.enter_async_context(RawClient(a.port))
            await start(client, f"t-{index}")
            await client.until(b"data:", len(SAID))
        await eventually(partial(bus_of(b).find, "anonymous", f"t-{number - 1}"))
        yield a, b, link, up


async def result_of(proxy: RunningProxy, any_id: str) -> str:
    """What a stop says."""
    answer = await stop(proxy, any_id)
    return str(answer.json()["result"]) if answer.status == 200 else str(answer.status)


async def ended(proxy: Any, any_id: str) -> bool:
    """Whether a record of a program's is over."""
    return bool((await call(proxy, "GET", f"/v1/generations/{any_id}")).json()["outcome"] == "cancelled")


async def test_a_partition(tmp_path: Path) -> None:
    """S16: behind a link that is silent, beyond lease and letters: streams live on and begin, remote stops are kept.

    When it is back every stop that was asked for has effect, by id and in bulk, and nothing else has.
    """
    async with cut_off(tmp_path, STREAMS) as (a, b, link, up):
        link.silent()
        assert await result_of(b, "t-0") == "stopping"
        async with RawClient(a.port) as client:
            await start(client, "late")
            await client.until(b"data:", len(SAID))
            assert (await call(a, "POST", "/v1/generations/t-1/cancel")).json()["result"] == "stopped"
            await asyncio.sleep(LEASE + 8.0)
            assert await result_of(b, "t-2") == "stopping"
            assert up.connections == STREAMS  # one was stopped, one more has begun
            page = (await send(b, "GET", "/v1/generations")).json()
            assert (page["unreachable"], page["complete"]) == (["a"], False)
            done = (await send(b, "POST", "/v1/generations/cancel", {"all": True})).json()
            assert set(done["unconfirmed"]) >= {f"t-{index}" for index in range(2, STREAMS)}
            await asyncio.sleep(1.5)
            link.heal()
            for index in range(STREAMS):
                await eventually(partial(ended, a, f"t-{index}"))
            assert b.app.engine.metrics.dead_replicas._value.get() == 0
            await eventually(lambda: up.connections <= 1)


async def test_a_link_that_is_cut(tmp_path: Path) -> None:
    """A replica that the bus has lost altogether looks dead to the others; its streams live on, and it is back after.

    Meanwhile nothing claims to have stopped them.
    """
    async with cut_off(tmp_path, 2) as (_, b, link, up):
        await link.cut()

        async def is_given_up() -> bool:
            said = await result_of(b, "t-0")
            assert said in {"stopping", "already_finished"}
            return said == "already_finished"

        await eventually(is_given_up, 3 * LEASE)
        assert up.connections == 2
        link.heal()

        async def is_back() -> bool:
            return await result_of(b, "t-1") == "stopped"

        await eventually(is_back)
        assert await result_of(b, "t-0") == "stopped"
        await up.no_connections()


async def test_a_slow_bus(tmp_path: Path) -> None:
    """With a bus that takes 200 ms each way streams begin at once, and stops through it are confirmed all the same."""
    async with cut_off(tmp_path, 2) as (a, b, link, up):
        link.slow(0.1)
        began = asyncio.get_running_loop().time()
        async with RawClient(a.port) as client:
            await client.post("/v1/chat/completions", {"model": "m", "messages": [], "stream": True})
            await client.until(b"data:", len(SAID))
            assert asyncio.get_running_loop().time() - began < 2.0

            async def is_stopped() -> bool:
                return await result_of(b, "t-0") == "stopped"

            await eventually(is_stopped)
            unknown = await stop(b, "t-9")
            assert refused(unknown)[0] in {404, 503}
            assert up.connections == 2
