"""A killed replica: what it ran is `interrupted` exactly once within two leases, whoever asks, in every dialect."""

import asyncio
import signal
import time
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

from proxy.core.lifecycle import Outcome
from proxy.core.record_bytes import record_of
from support.chat import chat_events
from support.client import RawClient
from support.edge import send
from support.program import running_program
from support.proxy import RunningProxy
from support.replicas import QUICK, bus_of, joined, replica_text
from support.scripts import events_then_hang
from support.stops import start, stop
from support.upstream import ScriptedUpstream
from support.wait import eventually

SAID = chat_events(8)[:-2]
"""A stream that is not over."""
LEASE = 4.0
STREAMS = 30
STOP, CONTINUE = signal.SIGSTOP, signal.SIGCONT


async def ended(proxy: RunningProxy, any_id: str) -> str:
    """How the directory says that a generation ended; empty: it lives."""
    place = await bus_of(proxy).find("anonymous", any_id)
    assert place is not None
    record = record_of(place.about)
    assert record is not None
    return "" if not place.is_over else ("interrupted" if record.outcome is Outcome.RUNNING else record.outcome.value)


async def test_a_killed_replica_is_buried_once(tmp_path: Path) -> None:
    """P3: of two that live one ends what a killed one ran, within two leases, with nobody asking; nothing else ends."""
    async with (
        joined(events_then_hang(SAID), tmp_path, "bc", **QUICK) as ((b, c), up, redis),
        AsyncExitStack() as stack,
    ):
        a = await stack.enter_async_context(killable(tmp_path, up, redis.url))
        for index in range(STREAMS):
            client = await stack.enter_async_context(RawClient(a.port))
            await start(client, f"t-{index}")
            await client.until(b"data:", len(SAID))
        client = await stack.enter_async_context(RawClient(b.port))
        await start(client, "own")
        await client.until(b"data:", len(SAID))
        for any_id in (f"t-{STREAMS - 1}", "own"):
            await eventually(partial(bus_of(b).find, "anonymous", any_id))
        a.kill()
        began = time.monotonic()
        await eventually(lambda: burials(b, c) == 1, 2 * LEASE, "somebody notices")
        took = time.monotonic() - began
        assert took < 2 * LEASE
        states = [await ended(c, f"t-{index}") for index in range(STREAMS)]
        assert states == ["interrupted"] * STREAMS
        assert await ended(c, "own") == ""
        for proxy in (b, c):
            receipt = (await stop(proxy, "t-0")).json()
            assert (receipt["result"], receipt["status"]) == ("already_finished", "interrupted")
        await asyncio.sleep(2.5)  # nobody does it again
        assert burials(b, c) == 1
        page = (await send(c, "GET", "/v1/generations")).json()
        assert ([each["task_id"] for each in page["data"]], page["complete"]) == (["own"], True)


def burials(*proxies: RunningProxy) -> float:
    """How often one of them has ended what a dead replica left."""
    return float(sum(proxy.app.engine.metrics.dead_replicas._value.get() for proxy in proxies))


def killable(folder: Path, up: ScriptedUpstream, url: str, **config: Any) -> Any:
    """Replica `a` as a process of its own."""
    own = folder / "a"
    own.mkdir(exist_ok=True)
    return running_program(replica_text(up.base_url, url, "a", **QUICK | config), own)


async def test_a_stall_is_no_death(tmp_path: Path) -> None:
    """P9: an event loop that stands still for two seconds, or longer than the lease, costs no generation its truth."""
    async with joined(events_then_hang(SAID), tmp_path, "b", **QUICK) as ((b,), up, redis):
        async with killable(tmp_path, up, redis.url) as a, RawClient(a.port) as client:
            await start(client, "t-1")
            await client.until(b"data:", len(SAID))
            await eventually(partial(bus_of(b).find, "anonymous", "t-1"))
            for seconds in (2.0, LEASE + 2.0):
                a.signal(STOP)
                await asyncio.sleep(seconds)
                assert await ended(b, "t-1") == ""
                a.signal(CONTINUE)
            assert b.app.engine.metrics.dead_replicas._value.get() == 0
            await eventually(partial(is_stopped, b, "t-1"))


async def is_stopped(proxy: RunningProxy, any_id: str) -> bool:
    """Whether a stop is confirmed: a process that went on a moment ago takes its time."""
    return bool((await stop(proxy, any_id)).json()["result"] == "stopped")
