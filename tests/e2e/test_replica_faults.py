"""Owners that die or stand still, a bus that is lost, letters that nobody should follow."""

import asyncio
import signal
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from proxy.core.generation import Stop
from proxy.core.letters import Seal, StopIt, StopWhenItComes, Wish
from proxy.core.lifecycle import Cause
from proxy.stores.bus.port import BusUnavailableError, KeptStop, Place
from support.chat import chat_events
from support.client import Answer, RawClient
from support.edge import refused, send
from support.program import Program, running_program
from support.proxy import RunningProxy, running_proxy
from support.redis_server import RedisServer
from support.replicas import QUICK, SECRET, bus_of, identity_of, joined, known, programs, replica_text
from support.scripts import events_then_hang, hang
from support.stops import CHAT, STREAM, Ask, call, record, start, stop
from support.wait import eventually, within

SAID = chat_events(8)[:-2]
"""A stream that is not over."""


async def ask_to_stop(program: Program, any_id: str) -> Answer:
    """Stop through a program."""
    async with RawClient(program.port) as client:
        await client.post(f"/v1/generations/{any_id}/cancel", b"")
        return await client.answer()


async def announced(redis: RedisServer) -> None:
    """Wait until the others can know of the generation that runs: no byte of it waits for that."""
    await eventually(lambda: any(b"g:" in name for name in redis.names()), what="the bus knows it")


async def test_an_owner_that_was_killed(tmp_path: Path) -> None:
    """X11: a stop of what a killed replica ran never claims to have stopped it: first unconfirmed, then interrupted."""
    async with programs(tmp_path) as ((a, b), _, redis), RawClient(a.port) as client:
        await start(client, "t-1")
        await client.until(b"data:", len(SAID))
        await announced(redis)
        a.kill()
        said = []

        async def is_left() -> bool:
            said.append((await ask_to_stop(b, "t-1")).json())
            return bool(said[-1]["result"] == "already_finished")

        await eventually(is_left, 8.0, "the stop says that the owner is dead")
    assert {(each["result"], each["status"]) for each in said} <= {
        ("stopping", "cancelling"),
        ("already_finished", "interrupted"),
    }
    assert (said[-1]["status"], said[-1]["task_id"]) == ("interrupted", "t-1")


async def test_an_owner_that_came_back(tmp_path: Path) -> None:
    """A replica that was killed and started again under its name answers for what it left: interrupted at once."""
    async with programs(tmp_path) as ((a, b), up, redis):
        async with RawClient(a.port) as client:
            await start(client, "t-1")
            await client.until(b"data:", len(SAID))
            await announced(redis)
            a.kill()
        text = replica_text(up.base_url, redis.url, "a", **QUICK)
        async with running_program(text, tmp_path / "a"):
            receipt = (await ask_to_stop(b, "t-1")).json()
    assert (receipt["result"], receipt["status"]) == ("already_finished", "interrupted")


async def test_an_owner_that_stands_still(tmp_path: Path) -> None:
    """X12: a stopped process can't confirm, so it is `stopping`, however long; when it goes on, it stops."""
    async with programs(tmp_path) as ((a, b), up, redis), RawClient(a.port) as client:
        await start(client, "t-1")
        await client.until(b"data:", len(SAID))
        await announced(redis)
        conn = await up.conn()
        a.signal(signal.SIGSTOP)
        try:
            receipt = (await ask_to_stop(b, "t-1")).json()
            assert (receipt["result"], receipt["status"], receipt["cause"]) == ("stopping", "cancelling", "client")
            await asyncio.sleep(4.5)  # its lease is over; it is not dead all the same
            assert (await ask_to_stop(b, "t-1")).json()["result"] == "stopping"
            async with RawClient(b.admin_port) as scraper:
                await scraper.get("/metrics")
                assert b'quell_cancels_unconfirmed_total{upstream="up"} 2.0' in (await scraper.answer()).body
            assert not conn.closed.is_set()
        finally:
            a.signal(signal.SIGCONT)
        await within(conn.closed.wait(), "the upstream sees the close")

        async def is_confirmed() -> bool:  # it has found the stop perhaps a moment before it listens again
            return bool((await ask_to_stop(b, "t-1")).json()["result"] == "stopped")

        await eventually(is_confirmed)


async def test_a_replica_that_left_in_order(tmp_path: Path) -> None:
    """What a replica stopped at its end is known as such by the others, at once."""
    async with programs(tmp_path, drain={"timeout": "0s"}) as ((a, b), _, _), RawClient(a.port) as client:
        await start(client, "t-1")
        await client.until(b"data:", len(SAID))
        a.signal(signal.SIGTERM)
        assert await a.exit_code() == 0
        receipt = (await ask_to_stop(b, "t-1")).json()
    assert (receipt["result"], receipt["status"], receipt["cause"]) == ("already_finished", "cancelled", "shutdown")
    assert receipt["usage"]["completion_tokens"] > 0


@pytest.mark.parametrize("how", ["restart", "flush"])
async def test_a_bus_that_forgets(tmp_path: Path, how: str) -> None:
    """S15: after a restart or FLUSHALL no stream has noticed, and stops through other replicas work within 5 s."""
    async with joined(events_then_hang(SAID), tmp_path) as ((a, b), up, redis), RawClient(a.port) as client:
        await start(client, "t-1")
        await client.until(b"data:", len(SAID))
        await known(b, "t-1")
        if how == "restart":
            await redis.restart()
        else:
            redis.command("FLUSHALL")

        async def is_stopped() -> bool:
            answer = await stop(b, "t-1")
            assert answer.status in {200, 503}
            return answer.status == 200 and answer.json()["result"] == "stopped"

        assert up.connections == 1
        await eventually(is_stopped, 5.0)
        assert (await client.answer()).complete


async def test_a_stop_just_after_the_bus_forgot(tmp_path: Path) -> None:
    """S15: a stop that the bus can't place because it has just forgotten is no 404; it waits, and takes effect."""
    async with joined(events_then_hang(SAID), tmp_path) as ((a, b), up, redis), RawClient(a.port) as client:
        await start(client, "t-1")
        await client.until(b"data:", len(SAID))
        await known(b, "t-1")
        conn = await up.conn()
        redis.command("FLUSHALL")
        assert refused(await stop(b, "t-1")) == (503, "bus_unavailable")
        await within(conn.closed.wait(), "the stop takes effect")


async def test_a_bus_that_stands_still(tmp_path: Path) -> None:
    """S16: streams go on and begin, local stops work, remote ones are 503 in bounded time; and all is well after."""
    async with joined(events_then_hang(SAID), tmp_path) as ((a, b), up, redis), RawClient(a.port) as client:
        await start(client, "t-1")
        await client.until(b"data:", len(SAID))
        await known(b, "t-1")
        redis.pause()
        began = asyncio.get_running_loop().time()
        first = await stop(b, "t-1")
        assert asyncio.get_running_loop().time() - began < 3.0
        assert refused(first) == (503, "bus_unavailable")
        assert first.header("Retry-After") == "1"
        await eventually(lambda: not bus_of(a).is_up)
        assert metric(b) == 0
        async with RawClient(a.port) as other:
            await start(other, "t-2")
            await other.until(b"data:", len(SAID))
            assert (await stop(a, "t-2")).json()["result"] == "stopped"
        redis.resume()
        await eventually(lambda: bus_of(a).is_up and bus_of(b).is_up)
        assert metric(b) == 1
        await known(b, "t-2")  # its owner says so in a moment
        assert (await stop(b, "t-2")).json()["result"] == "stopped"
        assert (await stop(b, "t-1")).json()["result"] == "stopped"
        assert up.connections == 0


def metric(proxy: RunningProxy) -> float:
    """What `quell_bus_up` says."""
    (sample,) = next(iter(proxy.app.engine.metrics.bus_up.collect())).samples
    return sample.value


async def test_a_wrong_secret_is_not_silent(tmp_path: Path) -> None:
    """A replica with another secret: lists are not complete and name it, no stop says 404, a metric counts it."""
    async with joined(hang(), tmp_path, "a") as ((a,), up, redis):
        assert (await call(a, "GET", "/v1/generations")).json()["complete"] is True
        (tmp_path / "b").mkdir()
        text = replica_text(up.base_url, redis.url, "b", bus={"secret": "not the secret of the tests"})
        async with running_proxy(text, tmp_path / "b") as b:
            for one, other in ((a, "b"), (b, "a")):
                await eventually(partial(strangers, one), what="it is noticed")
                listed = (await call(one, "GET", "/v1/generations")).json()
                assert (listed["complete"], listed["unreachable"]) == (False, [other])
                assert (await stop(one, "t-1")).status == 503


def strangers(proxy: RunningProxy) -> float:
    """What `quell_bus_strangers` says."""
    (sample,) = next(iter(proxy.app.engine.metrics.bus_strangers.collect())).samples
    return sample.value


async def test_no_bus_at_the_start(tmp_path: Path) -> None:
    """S14: a replica starts without its bus, serves, and joins the others when it is there."""
    async with joined(events_then_hang(SAID), tmp_path, "a") as ((a,), up, redis):
        redis.kill()
        own = tmp_path / "late"
        own.mkdir()
        async with running_program(replica_text(up.base_url, redis.url, "b"), own) as b, RawClient(b.port) as client:
            await start(client, "t-1")
            await client.until(b"data:", len(SAID))
            await redis.start()
            await eventually(lambda: bus_of(a).is_up)
            await eventually(lambda: finds(a, "t-1"))
            assert (await stop(a, "t-1")).json()["result"] == "stopped"


async def finds(proxy: RunningProxy, any_id: str) -> bool:
    """Whether a replica's directory knows an id by now."""
    try:
        return await bus_of(proxy).find("anonymous", any_id) is not None
    except BusUnavailableError:
        return False


WISH = Wish.of(Stop(Cause.CLIENT, "mallory"))


async def test_letters_that_nobody_should_follow(tmp_path: Path) -> None:
    """S17, Z15: garbage, forged, stale, misdirected and repeated letters stop nothing and are counted by kind."""
    async with joined(events_then_hang(SAID), tmp_path) as ((a, b), _, _), RawClient(a.port) as client:
        await start(client, "t-1", ask=Ask("ann"))
        await client.until(b"data:", len(SAID))
        await known(b, "t-1", ann := identity_of("ann"))
        bus = bus_of(b)
        place = await bus.find(ann, "t-1")
        assert place is not None
        letter = StopIt(
            to="a", by="b", at=bus.now(), identity=ann, any_id="t-1", uid=place.uid, user=None, confirm=1.0, wish=WISH
        )
        seal, forger = Seal(SECRET.encode(), "b"), Seal(b"not the secret", "b")
        bob = seal.close(changed(letter, identity=identity_of("bob")))
        bad = {
            "forged": [forger.close(letter), b"garbage", seal.close(letter)[:-1], b"\x00" * 100],
            "misdirected": [seal.close(changed(letter, to="b"))],
            "stale": [seal.close(changed(letter, at=bus.now() - 60)), seal.close(changed(letter, at=bus.now() + 60))],
            "repeated": [bob, bob],
        }
        for letters in bad.values():
            for each in letters:
                await bus.send("a", each)
        # a kept stop that is not signed, is another identity's, or is for another generation, is left alone as well
        for kept in (
            forger.close(letter),
            seal.close(changed(letter, identity=identity_of("bob"), at=0.0)),
            seal.close(changed(letter, uid="other", at=0.0)),
        ):
            await bus.stop(place, KeptStop("n-1", kept), b"nothing")
            await asyncio.sleep(2.2)  # it is looked at every 2 s
        waiting = StopWhenItComes(to="", by="b", at=bus.now(), identity=ann, any_id="t-2", user=None, wish=WISH)
        await bus.leave_stop(ann, "t-2", None, forger.close(waiting))
        await bus.leave_stop(ann, "t-3", None, seal.close(changed(waiting, any_id="t-2")))
        await bus.leave_stop(ann, "t-4", None, seal.close(changed(waiting, any_id="t-4", at=bus.now() - 60)))
        for any_id in ("t-2", "t-3", "t-4"):
            async with RawClient(a.port) as other:
                await start(other, any_id, ask=Ask("ann"))
                await other.until(b"data:", len(SAID))
                await known(b, any_id, ann)
                assert (await record(a, any_id, Ask("ann")))["outcome"] == "running"
        assert (await record(a, "t-1", Ask("ann")))["outcome"] == "running"
        counted = a.app.engine.metrics.letters_refused
        for why in ("misdirected", "stale", "repeated", "forged"):
            assert counted.labels(why)._value.get() >= 1, why
        assert (await stop(b, "t-1", Ask("ann"))).json()["result"] == "stopped"


def changed(letter: Any, **fields: Any) -> Any:
    """The letter with other fields, and a number of its own."""
    kept = {name: getattr(letter, name) for name in letter.__struct_fields__ if name != "number"}
    return type(letter)(**kept | fields)


async def test_a_kept_stop_stops_no_later_namesake(tmp_path: Path) -> None:
    """A stop that its owner heard too late never stops a later generation with the same chosen id."""
    async with joined(hang(), tmp_path) as ((a, b), up, _):
        async with RawClient(a.port) as client:
            await start(client, "t-1")
            await up.conn()
            await known(b, "t-1")
            place = await bus_of(b).find("anonymous", "t-1")
            assert place is not None
            await stop(a, "t-1")
        seal = Seal(SECRET.encode(), "b")
        letter = StopIt(
            to="a", by="b", at=0.0, identity="anonymous", any_id="t-1", uid=place.uid, user=None, confirm=1, wish=WISH
        )
        async with RawClient(a.port) as client:
            await start(client, "t-1")
            await up.conn(1)
            newer = await eventually(lambda: lives(b, "t-1"), what="the directory knows the newer one")
            assert newer is not None
            assert newer.uid != place.uid
            await bus_of(b).stop(newer, KeptStop("n-1", seal.close(letter)), b"nothing")
            await asyncio.sleep(2.5)
            assert (await record(a, "t-1"))["outcome"] == "running"


async def lives(proxy: RunningProxy, any_id: str) -> Place | None:
    """Where what an id names lives, as a replica's directory knows it."""
    place = await bus_of(proxy).find("anonymous", any_id)
    return None if place is None or place.is_over else place


async def test_one_stop_is_one_stop(tmp_path: Path) -> None:
    """Fifty stops at once through both replicas give one answer, and are one stop for the upstream and the ledger."""
    async with joined(events_then_hang(SAID), tmp_path) as ((a, b), up, _), RawClient(a.port) as client:
        await start(client, "t-1")
        await client.until(b"data:", len(SAID))
        await known(b, "t-1")
        answers = await asyncio.gather(*(stop((a, b)[number % 2], "t-1") for number in range(50)))
        assert len({answer.body for answer in answers}) == 1
        assert len(up.conns) == 1


async def test_malformed_ids_never_reach_the_bus(tmp_path: Path) -> None:
    """X16: ids with patterns, controls, path tricks or great length are 404 or 400 everywhere, and harm nothing."""
    async with joined(events_then_hang(SAID), tmp_path) as ((a, b), _, _), RawClient(a.port) as client:
        await start(client, "t-1")
        await client.until(b"data:", len(SAID))
        await known(b, "t-1")
        for any_id in (
            "*",
            "t-*",
            "%3F-1",
            "%2A",
            "%00",
            "t-1%00",
            "..%2Ft-1",
            "x" * 10_000,
            "%0D%0A",
            "%C3%BC",
            "T-1",
        ):
            answer = await send(b, "POST", f"/v1/generations/{any_id}/cancel")
            assert answer.status in {400, 404, 414, 431}, any_id
        assert (await record(a, "t-1"))["outcome"] == "running"


async def test_a_storm(tmp_path: Path) -> None:
    """X17: 300 streams on three replicas, stopped through random ones: none lost, none confused, all told the truth."""
    async with joined(events_then_hang(SAID), tmp_path, "abc", limits={"streams": 5000}) as (all_, up, _):
        async with AsyncExitStack() as stack:
            for number in range(300):
                client = await stack.enter_async_context(RawClient(all_[number % 3].port))
                await client.post(CHAT, STREAM, [("X-Task-Id", f"t-{number}")])
            await eventually(lambda: len(up.conns) == 300, 60.0)
            await eventually(lambda: finds(all_[0], "t-299"))
            answers = await asyncio.gather(*(stop(all_[(number * 7 // 3) % 3], f"t-{number}") for number in range(300)))
    receipts = [answer.json() for answer in answers]
    assert [receipt["task_id"] for receipt in receipts] == [f"t-{number}" for number in range(300)]
    assert {receipt["result"] for receipt in receipts} == {"stopped"}
    assert up.connections == 0
