"""Draining: what runs gets its time to end, and what has ended its time to be settled and to get out."""

import asyncio
import contextlib
from typing import Final

from proxy.edge.gateway import Gateway
from proxy.engine.engine import Engine
from proxy.engine.settling.forwarding import Forwarding
from proxy.engine.settling.sink import Sink
from proxy.engine.tasks import Tasks

SETTLE_SECONDS: Final = 10.0
"""How long the last records may wait for a disk that does not answer, before the ledger is closed without them."""

SINK_SECONDS: Final = 2.0
"""How long the last records may wait for a sink that takes them. What it was not served it is served after the next
start."""


async def unless(hurry: asyncio.Event | None, seconds: float) -> None:
    """Wait for `seconds`, or until somebody is in a hurry."""
    try:
        async with asyncio.timeout(seconds):
            await (hurry or asyncio.Event()).wait()
    except TimeoutError:
        return


async def wait_for_what_runs(
    engine: Engine, gateway: Gateway, tasks: Tasks, seconds: float, hurry: asyncio.Event | None
) -> None:
    """Wait until what runs has ended, for `seconds` at most, or until somebody is in a hurry."""
    ended = tasks.start(_all_ended(engine, gateway), "wait for what runs")
    hurried = tasks.start(unless(hurry, seconds), "wait for hurry")
    await asyncio.wait({ended, hurried}, return_when=asyncio.FIRST_COMPLETED)
    for task in (ended, hurried):
        task.cancel()


async def _all_ended(engine: Engine, gateway: Gateway) -> None:
    """Wait for generations, and for what is passed through without being one."""
    await engine.settle_all()
    for upstream in gateway.runtime.upstreams.values():
        await upstream.unused()


async def finish(engine: Engine, sink: Sink, forwarding: Forwarding | None) -> None:
    """Give what has ended its time to be settled, and to get out."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(SETTLE_SECONDS):
            await engine.settle_all()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(SINK_SECONDS):
            await sink.caught_up()
    if forwarding is not None:
        await forwarding.finish(SINK_SECONDS)
