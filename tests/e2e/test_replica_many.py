"""Bulk stops, lists and an operator's stops over all replicas: owners act on their own, and what is missing is said."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from proxy.stores.bus.port import BusUnavailableError
from support.chat import chat_events, text
from support.client import RawClient
from support.edge import refused, send
from support.program import ADMIN_TOKEN, Program
from support.proxy import RunningProxy
from support.replicas import QUICK, bus_of, deafen, identity_of, joined, known, programs
from support.scripts import events_then_hang
from support.stops import Ask, call, record, start, stop
from support.wait import eventually, within

SAID = chat_events(8)[:-2]
"""A stream that is not over."""
ANN, BOB = Ask("ann"), Ask("bob")
AS_ADMIN = [("Authorization", f"Bearer {ADMIN_TOKEN}")]


@asynccontextmanager
async def running(*asked: tuple[RunningProxy, str, Ask, dict[str, Any]]) -> AsyncIterator[None]:
    """Streams on replicas, each known everywhere: where, its id, whose it is, what its body has more."""
    async with AsyncExitStack() as stack:
        for proxy, task_id, ask, more in asked:
            client = await stack.enter_async_context(RawClient(proxy.port))
            body = {"model": "scripted", "stream": True, "messages": []} | more
            await start(client, task_id, body, ask)
            await client.until(b"data:", len(SAID))
            await known(proxy, task_id, "anonymous" if ask.key is None else identity_of(ask.key))
        yield


async def cancel_many(proxy: RunningProxy, body: dict[str, Any], ask: Ask) -> dict[str, Any]:
    """A bulk cancel's answer."""
    answer = await call(proxy, "POST", "/v1/generations/cancel", body, ask)
    assert answer.status == 200, answer.body
    found: dict[str, Any] = answer.json()
    return found


async def admin(proxy: RunningProxy | Program, method: str, path: str, body: Any = b"") -> Any:
    """An admin call's answer."""
    async with RawClient(proxy.admin_port) as client:
        if method == "GET":
            await client.get(f"/api/{path}", AS_ADMIN)
        else:
            await client.post(f"/api/{path}", body, AS_ADMIN)
        return await client.answer()


async def test_a_bulk_stop_reaches_all_replicas(tmp_path: Path) -> None:
    """X22: by user and by all, what is the caller's own stops on every replica, and nothing else does."""
    async with joined(events_then_hang(SAID), tmp_path, "abc") as ((a, b, c), up, _):
        async with running(
            (a, "t-1", ANN, {"user": "u"}),
            (b, "t-2", ANN, {"user": "u"}),
            (c, "t-3", ANN, {"user": "v"}),
            (c, "t-1", BOB, {"user": "u"}),
        ):
            some = await cancel_many(b, {"user": "u", "reason": "enough"}, ANN)
            assert (sorted(some["stopped"]), some["count"]) == (["t-1", "t-2"], 2)
            assert (some["unconfirmed"], some["unreachable"], some["complete"]) == ([], [], True)
            assert up.connections == 2
            kept = await record(a, "t-1", ANN)
            assert (kept["outcome"], kept["cause"], kept["reason"]) == ("cancelled", "client", "enough")
            assert (await cancel_many(a, {"all": True}, ANN))["stopped"] == ["t-3"]
            assert (await record(c, "t-1", BOB))["outcome"] == "running"
            assert (await cancel_many(a, {"all": True}, ANN))["stopped"] == []


async def test_a_bulk_stop_by_tag(tmp_path: Path) -> None:
    """Tags are those of the owner's route."""
    route = {"tags": {"team": "search"}}
    async with joined(events_then_hang(SAID), tmp_path, route=route) as ((a, b), _, _):
        async with running((a, "t-1", ANN, {})):
            assert (await cancel_many(b, {"tag": {"team": "other"}}, ANN))["count"] == 0
            assert (await cancel_many(b, {"tag": {"team": "search"}}, ANN))["stopped"] == ["t-1"]


async def test_lists_show_what_lives_anywhere(tmp_path: Path) -> None:
    """A caller's list at any replica has all that it runs, as its owners have it, newest first, page by page."""
    async with joined(events_then_hang(SAID), tmp_path, "abc") as ((a, b, c), _, _):
        async with running((a, "t-1", ANN, {}), (b, "t-2", ANN, {}), (c, "t-3", ANN, {}), (c, "t-4", BOB, {})):
            for proxy in (a, b, c):
                page = (await call(proxy, "GET", "/v1/generations", ask=ANN)).json()
                assert [each["task_id"] for each in page["data"]] == ["t-3", "t-2", "t-1"]
                assert [each["replica"] for each in page["data"]] == ["c", "b", "a"]
                assert {each["outcome"] for each in page["data"]} == {"running"}
                assert (page["complete"], page["unreachable"], page["next_cursor"]) == (True, [], None)
            seen, cursor = [], ""
            for _ in range(3):
                page = (await call(b, "GET", f"/v1/generations?limit=1{cursor}", ask=ANN)).json()
                seen += [each["task_id"] for each in page["data"]]
                cursor = f"&cursor={page['next_cursor']}"
            assert (seen, page["next_cursor"]) == (["t-3", "t-2", "t-1"], None)
            live = (await admin(a, "GET", "generations?state=live")).json()
            assert [each["task_id"] for each in live["data"]] == ["t-4", "t-3", "t-2", "t-1"]
            assert all("text" not in each for each in live["data"])
            every = (await admin(b, "GET", "generations?key=" + live["data"][0]["key_id"])).json()
            assert [each["task_id"] for each in every["data"]] == ["t-4"]


async def test_a_list_has_the_text_of_others(tmp_path: Path) -> None:
    """The text of what another replica runs is in its owner's list, and clipped as its own is."""
    async with joined(events_then_hang(SAID), tmp_path) as ((a, b), _, _), RawClient(a.port) as client:
        await start(client, "t-1", ask=ANN)
        await client.until(b"data:", len(SAID))
        await known(b, "t-1", identity_of("ann"))
        (found,) = (await call(b, "GET", "/v1/generations", ask=ANN)).json()["data"]
        assert text(8).startswith(found["text"])


async def test_an_operator_stops_anybodys_anywhere(tmp_path: Path) -> None:
    """The admin API of any replica stops what any other runs, by id and by filters; a dry run only names it."""
    async with joined(events_then_hang(SAID), tmp_path, "abc") as ((a, b, c), up, _):
        async with running((a, "t-1", ANN, {}), (b, "t-2", BOB, {"user": "u"}), (c, "t-3", BOB, {"user": "u"})):
            receipt = (await admin(b, "POST", "generations/t-1/cancel")).json()
            assert (receipt["result"], receipt["cause"], receipt["task_id"]) == ("stopped", "operator", "t-1")
            again = (await admin(c, "POST", "generations/t-1/cancel")).json()
            assert (again["result"], again["status"]) == ("stopped", "cancelled")
            dry = (await admin(a, "POST", "generations/cancel", {"user": "u", "dry_run": True})).json()
            assert (sorted(dry["matched"]), dry["stopped"]) == (["t-2", "t-3"], [])
            assert up.connections == 2
            done = (await admin(a, "POST", "generations/cancel", {"all": True})).json()
            assert (sorted(done["stopped"]), done["complete"]) == (["t-2", "t-3"], True)
            assert up.connections == 0
            assert refused(await admin(a, "POST", "generations/t-9/cancel")) == (404, "generation_not_found")


async def test_an_id_of_two_callers_on_two_replicas(tmp_path: Path) -> None:
    """An operator's id that means two live generations on other replicas stops none, and both are named."""
    async with joined(events_then_hang(SAID), tmp_path, "abc") as ((a, b, c), up, _):
        async with running((a, "t-1", ANN, {}), (b, "t-1", BOB, {})):
            assert refused(await admin(c, "POST", "generations/t-1/cancel")) == (400, "ambiguous_id")
            assert up.connections == 2


async def test_a_bus_that_is_away(tmp_path: Path) -> None:
    """Without the bus bulk stops and lists do what they can here, and say that more may be missing."""
    async with joined(events_then_hang(SAID), tmp_path) as ((a, b), _, redis):
        async with running((a, "t-1", ANN, {}), (b, "t-2", ANN, {})):
            redis.kill()
            await eventually(lambda: not bus_of(b).is_up)
            page = (await call(b, "GET", "/v1/generations", ask=ANN)).json()
            assert ([each["task_id"] for each in page["data"]], page["complete"]) == (["t-2"], False)
            done = await cancel_many(b, {"all": True}, ANN)
            assert (done["stopped"], done["complete"]) == (["t-2"], False)
            assert refused(await admin(b, "POST", "generations/t-1/cancel")) == (503, "bus_unavailable")
            assert (await stop(a, "t-1", ANN)).json()["result"] == "stopped"


async def test_an_owner_that_says_nothing(tmp_path: Path) -> None:
    """X12, X22: a replica that stands still is named, its generations are unconfirmed, and stop when it goes on."""
    async with programs(tmp_path, "ab") as ((a, b), up, redis):
        async with RawClient(a.port) as client, RawClient(b.port) as other:
            for each, task_id in ((client, "t-1"), (other, "t-2")):
                await start(each, task_id, ask=ANN)
                await each.until(b"data:", len(SAID))
            await eventually(lambda: sum(b"g:" in name for name in redis.names()) == 2)
            conn = await up.conn()
            a.signal(signal.SIGSTOP)
            try:
                page = (await send_to(b, "GET", "/v1/generations")).json()
                assert [each["task_id"] for each in page["data"]] == ["t-2", "t-1"]
                assert (page["complete"], page["unreachable"]) == (False, ["a"])
                done = (await send_to(b, "POST", "/v1/generations/cancel", {"all": True})).json()
                assert done["stopped"] == ["t-2"]
                assert (done["unconfirmed"], done["unreachable"], done["complete"]) == (["t-1"], ["a"], False)
                await asyncio.sleep(11.0)  # the letter is too old to be followed as such: it is kept
            finally:
                a.signal(signal.SIGCONT)
            await within(conn.closed.wait(), "the upstream sees the close")
            await eventually(partial(is_cancelled, a, "t-1"))
        async with RawClient(a.port) as client:
            await start(client, "t-3", ask=ANN)
            await client.until(b"data:", len(SAID))
            await asyncio.sleep(2.5)  # what is kept is looked at each second
            assert (await send_to(a, "GET", "/v1/generations/t-3")).json()["outcome"] == "running"


async def is_cancelled(program: Program, task_id: str) -> bool:
    """Whether a generation was cancelled by now."""
    return bool((await send_to(program, "GET", f"/v1/generations/{task_id}")).json()["outcome"] == "cancelled")


async def send_to(program: Program, method: str, path: str, body: Any = b"") -> Any:
    """A request of Ann's to a program."""
    async with RawClient(program.port) as client:
        if method == "GET":
            await client.get(path, ANN.headers())
        else:
            await client.post(path, body, ANN.headers())
        return await client.answer()


@pytest.mark.parametrize("selection", [{"user": "\ud83d"}, {"tag": {"team": "\ud83d"}}, {"tag": {"team": 7}}])
async def test_what_no_letter_can_say(tmp_path: Path, selection: dict[str, Any]) -> None:
    """A selection that is no text is refused by name, before anything is stopped or sent."""
    async with joined(events_then_hang(SAID), tmp_path, "a") as ((a,), _, _):
        assert refused(await send(a, "POST", "/v1/generations/cancel", selection)) == (400, "invalid_selection")


@pytest.mark.parametrize("method", ["post", "find_reply"])
async def test_one_that_can_not_be_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    """X22: when a letter to one replica, or the search for its answer, fails, what the others did is told."""
    async with joined(events_then_hang(SAID), tmp_path, "abc", **QUICK) as ((a, b, c), _, _):
        deafen(b)
        async with running((a, "t-1", ANN, {}), (b, "t-2", ANN, {})):
            bus = bus_of(c)
            real = getattr(bus, method)

            async def fail(first: str, *more: object) -> object:
                if method == "post" and first != "b":
                    return await real(first, *more)
                raise BusUnavailableError

            with monkeypatch.context() as patched:
                patched.setattr(bus, method, fail)
                done = await cancel_many(c, {"all": True}, ANN)
            assert (done["unreachable"], done["complete"]) == (["b"], False)
            is_kept = method != "post"
            assert done["stopped"] == ["t-1"]
            assert done["unconfirmed"] == (["t-2"] if is_kept else [])
            assert (await record(a, "t-1", ANN))["outcome"] == "cancelled"
            if not is_kept:
                assert (await record(b, "t-2", ANN))["outcome"] == "running"
