"""Chosen ids over all replicas: one generation of a caller's at a time, and stops that come first."""

import asyncio
from collections.abc import Collection
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import pytest

from proxy.engine.replicas import claiming
from proxy.stores.bus.group import Holder
from support.chat import chat_events
from support.client import Answer, RawClient
from support.edge import refused
from support.proxy import RunningProxy
from support.replicas import bus_of, identity_of, joined, known, programs
from support.scripts import events_then_hang, hang, sse_stream
from support.stops import CHAT, STREAM, Ask, call, record, start, stop
from support.wait import eventually

SAID = chat_events(8)[:-2]
"""A stream that is not over."""
ANN, BOB = Ask("ann"), Ask("bob")


async def test_an_id_in_use_at_another_replica(tmp_path: Path) -> None:
    """X20: the same caller's second start with a live id is 400 everywhere, before its upstream is called."""
    async with joined(events_then_hang(SAID), tmp_path, "abc") as ((a, b, c), up, _), RawClient(a.port) as client:
        await start(client, "t-1", ask=ANN)
        await client.until(b"data:", len(SAID))
        for proxy in (a, b, c):
            again = await call(proxy, "POST", CHAT, STREAM, ANN, X_Task_Id="t-1")
            assert refused(again) == (400, "task_id_in_use")
        assert len(up.conns) == 1
        page = (await call(b, "GET", "/v1/generations", ask=ANN)).json()
        assert [each["replica"] for each in page["data"]] == ["a"]
        async with RawClient(b.port) as other:
            await start(other, "t-1", ask=BOB)
            await other.until(b"data:", len(SAID))
            assert (await stop(c, "t-1", ANN)).json()["result"] == "stopped"
            assert (await record(b, "t-1", BOB))["outcome"] == "running"
        async with RawClient(b.port) as other:
            await start(other, "t-1", ask=ANN)
            await other.until(b"data:", len(SAID))


async def test_of_many_starts_at_once_one_runs(tmp_path: Path) -> None:
    """Thirty starts with one id at once on three replicas: one runs, the others are told."""
    async with joined(hang(), tmp_path, "abc") as (all_, up, _), AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(RawClient(all_[number % 3].port)) for number in range(30)]
        told: list[Answer] = []

        async def begin(client: RawClient) -> None:
            await start(client, "t-1", ask=ANN)
            told.append(await client.answer())

        async with asyncio.TaskGroup() as group:
            for client in clients:
                group.create_task(begin(client))
            await eventually(lambda: len(told) == 29)
            assert {refused(answer) for answer in told} == {(400, "task_id_in_use")}
            assert len(up.conns) == 1
            await known(all_[0], "t-1", identity_of("ann"))
            assert (await stop(all_[0], "t-1", ANN)).json()["result"] == "stopped"


async def test_an_id_is_free_when_its_client_knows_the_end(tmp_path: Path) -> None:
    """Who has read the end of a stream may use its id again at once, at any replica."""
    async with joined(sse_stream(chat_events(2)), tmp_path, "abc") as (all_, _, _):
        for number in range(30):
            answer = await call(all_[number % 3], "POST", CHAT, STREAM, ANN, X_Task_Id="t-1")
            assert answer.status == 200, (number, answer.body)


async def test_a_stop_that_came_first_spares_the_upstream(tmp_path: Path) -> None:
    """X19: a stop at one replica before the start at another: the upstream is never called there."""
    async with joined(hang(), tmp_path) as ((a, b), up, _):
        for number in range(10):
            assert refused(await stop(b, f"t-{number}", ANN)) == (404, "not_found")
            answer = await call(a, "POST", CHAT, STREAM, ANN, X_Task_Id=f"t-{number}")
            assert (answer.status, answer.json()["error"]["code"]) == (499, "generation_cancelled")
        assert len(up.conns) == 0


async def test_a_start_that_comes_to_nothing_holds_no_id(tmp_path: Path) -> None:
    """A request that is refused behind its claim lets the id go, at once and for all replicas."""
    async with joined(events_then_hang(SAID), tmp_path) as ((a, b), _, redis):
        bad = await call(a, "POST", CHAT, b"[]", ANN, X_Task_Id="t-1")
        assert bad.status == 400
        async with RawClient(b.port) as client:
            await start(client, "t-1", ask=ANN)
            await client.until(b"data:", len(SAID))
        await eventually(lambda: sum(b":g:" in name for name in redis.names()) == 1)


@pytest.mark.parametrize("late", [1, 2])
async def test_a_claim_that_comes_too_late(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, late: int) -> None:
    """A claim that the bus answers behind its generation's beginning hides that from nobody: a stop elsewhere stops it.

    It is the last one that is tried.
    """
    monkeypatch.setattr(claiming, "CLAIM_WAIT", 0.2)  # the directory still has a namesake that is over
    async with joined(events_then_hang(SAID), tmp_path, "abc") as ((a, b, c), up, _), AsyncExitStack() as stack:
        first, client = [await stack.enter_async_context(RawClient(proxy.port)) for proxy in (a, b)]
        await start(first, "t-1")
        await first.until(b"data:", len(SAID))
        await known(c, "t-1")
        monkeypatch.setattr(bus_of(a), "release", lambda _uid, _about: None)
        assert (await stop(a, "t-1")).json()["result"] == "stopped"
        await up.no_connections()
        has_begun, claim, calls = asyncio.Event(), bus_of(b).claim, 0

        async def slow(identity: str, task_id: str, uid: str, but: Collection[str]) -> Holder | list[bytes]:
            nonlocal calls
            calls += 1
            if calls == late:
                await has_begun.wait()
            return await claim(identity, task_id, uid, but)

        monkeypatch.setattr(bus_of(b), "claim", slow)
        await start(client, "t-1")
        await client.until(b"data:", len(SAID))
        await eventually(partial(lives_at_b, c))
        has_begun.set()
        own = b.app.engine._claiming
        assert own is not None
        await eventually(lambda: not own._tasks)
        assert calls == late
        assert (await stop(c, "t-1")).json()["result"] == "stopped"
        await up.no_connections()


async def lives_at_b(proxy: RunningProxy) -> bool:
    """Whether the directory knows that it runs there."""
    place = await bus_of(proxy).find("anonymous", "t-1")
    return place is not None and (place.is_over, place.replica) == (False, "b")


async def test_without_the_bus_each_knows_its_own(tmp_path: Path) -> None:
    """With the bus away, or standing still, starts are not held up, and only this replica's ids count."""
    async with joined(events_then_hang(SAID), tmp_path) as ((a, b), _, redis), AsyncExitStack() as stack:
        one, two = [await stack.enter_async_context(RawClient(proxy.port)) for proxy in (a, b)]
        redis.pause()
        began = asyncio.get_running_loop().time()
        await start(one, "t-1", ask=ANN)
        await one.until(b"data:", len(SAID))
        assert asyncio.get_running_loop().time() - began < 1.5
        await eventually(lambda: not bus_of(b).is_up)
        await start(two, "t-1", ask=ANN)
        await two.until(b"data:", len(SAID))
        again = await call(b, "POST", CHAT, STREAM, ANN, X_Task_Id="t-1")
        assert refused(again) == (400, "task_id_in_use")
        redis.resume()


async def test_a_dead_replica_holds_no_id(tmp_path: Path) -> None:
    """An id that a killed replica used is free as soon as that is known to be dead."""
    async with programs(tmp_path) as ((a, b), _, redis):
        async with RawClient(a.port) as client:
            await start(client, "t-1", ask=ANN)
            await client.until(b"data:", len(SAID))
            await eventually(lambda: any(b"g:" in name for name in redis.names()))
            a.kill()

        async def begins() -> bool:
            async with RawClient(b.port) as other:
                await start(other, "t-1", ask=ANN)
                answer = await other.until(b"\r\n")
                return b" 200 " in answer

        await eventually(begins, 8.0, "the id is free")
