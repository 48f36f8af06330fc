"""What is served by the owner and stops nothing: changes, and stops that the owner refuses."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from e2e.test_replica_dialects import begun
from proxy.stores.bus.redis import RedisBus
from support import assistants
from support.chat import chat_events
from support.client import RawClient
from support.proxy import RunningProxy
from support.replicas import QUICK, bus_of, deafen, joined, known
from support.scripts import events_then_hang
from support.wait import eventually

SAID = chat_events(8)[:-2]
"""A stream that is not over."""
OTHERS = "thread_" + "0" * 24
LOOKED = 5
"""After so many beats what is kept was looked at twice, once at least when it was old enough to be followed."""


@asynccontextmanager
async def a_run(folder: Path) -> AsyncIterator[tuple[RunningProxy, RunningProxy, str, str]]:
    """Two replicas, the first of which makes a run, which the second one knows; with the ids of thread and run."""
    route = {"dialect": "assistants"}
    async with joined(events_then_hang(SAID), folder, route=route, **QUICK) as ((a, b), _, _):
        async with RawClient(a.port) as client:
            thread, run = await begun(a, client, b'"all "')
            await known(b, run)
            yield a, b, thread, run


async def goes_on(proxy: RunningProxy, thread: str, run: str) -> None:
    """What is kept for a run's owner was looked at, and the run works."""
    bus = bus_of(proxy)
    assert isinstance(bus, RedisBus)
    before = bus._beats
    await eventually(lambda: bus._beats >= before + LOOKED, 20.0)
    assert (await assistants.ask(proxy, "GET", f"/threads/{thread}/runs/{run}"))["status"] == "in_progress"
    assert len(proxy.app.engine.registry) == 1


async def test_a_change_stops_nothing(tmp_path: Path) -> None:
    """A run's metadata are changed through another replica, and the run goes on."""
    async with a_run(tmp_path) as (a, b, thread, run):
        changed = await assistants.ask(b, "POST", f"/threads/{thread}/runs/{run}", {"metadata": {"k": "v"}})
        assert changed["metadata"] == {"k": "v"}
        await goes_on(a, thread, run)


async def test_a_change_is_not_kept(tmp_path: Path) -> None:
    """A change that its owner does not hear is refused for now, and is neither made later nor a stop."""
    async with a_run(tmp_path) as (a, b, thread, run):
        deafen(a)
        told = await assistants.told(b, "POST", f"/threads/{thread}/runs/{run}", {"metadata": {"k": "v"}})
        assert assistants.error_of(told, 503)["code"] == "bus_unavailable"
        await goes_on(a, thread, run)
        assert (await assistants.ask(a, "GET", f"/threads/{thread}/runs/{run}"))["metadata"] == {}


@pytest.mark.parametrize("hears", [True, False])
async def test_a_stop_that_the_owner_refuses(tmp_path: Path, hears: bool) -> None:
    """A cancel that names the wrong thread stops nothing, whether the owner hears it at once or finds it as kept."""
    async with a_run(tmp_path) as (a, b, thread, run):
        if not hears:
            deafen(a)
        assistants.error_of(
            await assistants.told(b, "POST", f"/threads/{OTHERS}/runs/{run}/cancel"), 404 if hears else 503
        )
        await goes_on(a, thread, run)
