"""Looks and stops mean the same generation: what runs, wherever that is, before what is over; the newer of two."""

from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from proxy.stores.bus.port import BusUnavailableError
from proxy.stores.bus.redis_letters import INLINE_BYTES
from proxy.stores.ledger.port import LedgerUnavailableError
from support.chat import chat_events
from support.client import Answer, RawClient, request_bytes
from support.edge import refused, send
from support.program import ADMIN_TOKEN
from support.proxy import RunningProxy
from support.replicas import QUICK, bus_of, deafen, joined, known
from support.scripts import events_then_hang
from support.stops import record, settled, start, stop
from support.wait import eventually

SAID = chat_events(8)[:-2]
"""A stream that is not over."""
PATH = "/v1/generations/t-1/events"
ADMIN = [("Authorization", f"Bearer {ADMIN_TOKEN}")]


async def admin(proxy: RunningProxy, method: str, path: str) -> Answer:
    """One request to the admin API."""
    async with RawClient(proxy.admin_port) as client:
        await client.send(request_bytes(method, f"/api/generations/{path}", b"", ADMIN))
        return await client.answer()


async def ended(proxy: RunningProxy, other: RunningProxy) -> str:
    """Run one here and stop it; another replica knows that it is over. Gives its message id."""
    async with RawClient(proxy.port) as client:
        await start(client, "t-1")
        await client.until(b"data:", len(SAID))
        receipt = (await stop(proxy, "t-1")).json()
        await client.answer()
    await settled(proxy)

    async def is_over() -> bool:
        place = await bus_of(other).find("anonymous", receipt["message_id"])
        return place is not None and place.is_over

    await eventually(is_over)
    return str(receipt["message_id"])


async def lives(proxy: RunningProxy, any_id: str) -> bool:
    """Whether the directory knows that what an id means runs."""
    place = await bus_of(proxy).find("anonymous", any_id)
    return place is not None and not place.is_over


async def is_counted(proxy: RunningProxy, any_id: str) -> bool:
    """Whether the admin API has a count of what runs."""
    shown = (await admin(proxy, "GET", any_id)).json()
    return shown["outcome"] == "running" and bool(shown["completion_tokens"])


async def test_an_id_that_was_used_again_elsewhere(tmp_path: Path) -> None:
    """Where its older generation ended, an id means the one that runs elsewhere, and then the newer of both."""
    async with joined(events_then_hang(SAID), tmp_path) as ((a, b), _, _):
        older = await ended(a, b)
        async with RawClient(b.port) as client, RawClient(a.port) as there, RawClient(a.admin_port) as operator:
            await start(client, "t-1")
            await client.until(b"data:", len(SAID))
            await eventually(partial(lives, a, "t-1"), what="the newer one is known")
            found = await record(a, "t-1")
            assert (found["replica"], found["outcome"]) == ("b", "running")
            assert (await admin(a, "GET", "t-1")).json()["replica"] == "b"
            await eventually(partial(is_counted, a, "t-1"), what="an operator is told the count so far")
            await there.get(PATH)
            await operator.get("/api/generations/t-1/events", ADMIN)
            for each in (there, operator):
                await each.until(b"data:", len(SAID))
            assert (await admin(a, "POST", "t-1/cancel")).json()["message_id"] == found["message_id"]
            live, seen = await there.answer(), await operator.answer()
        await settled(b)
        assert seen.body == live.body
        assert (await send(a, "GET", PATH)).body == live.body
        assert (await record(a, "t-1"))["message_id"] == found["message_id"] != older
        assert (await record(b, older))["replica"] == "a"


async def test_what_only_another_ledger_has(tmp_path: Path) -> None:
    """An operator finds what ended long ago at any replica, with its text; its events are gone."""
    async with joined(events_then_hang(SAID), tmp_path) as ((a, b), _, _):
        older = await ended(a, b)
        a.app.engine.registry.expire(a.app.engine.now() + 1000)
        found = (await admin(b, "GET", older)).json()
        assert found == (await admin(a, "GET", older)).json()
        assert (found["replica"], found["outcome"], bool(found["text"])) == ("a", "cancelled", True)
        assert refused(await admin(b, "GET", f"{older}/events")) == (410, "events_gone")
        assert (await admin(b, "POST", f"{older}/cancel")).json()["status"] == "cancelled"


async def test_an_operators_stop_without_a_ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What runs elsewhere is stopped by an operator also where the ledger can't be read; what is unknown is 503."""
    async with joined(events_then_hang(SAID), tmp_path) as ((a, b), up, _), RawClient(a.port) as client:
        await start(client, "t-1")
        await client.until(b"data:", len(SAID))

        async def broken(_identity: str | None, _any_id: str) -> None:
            raise LedgerUnavailableError("broken")

        monkeypatch.setattr(b.app.engine.ledger, "find", broken)
        assert (await admin(b, "POST", "t-1/cancel")).json()["result"] == "stopped"
        await up.no_connections()
        assert (await admin(b, "POST", "t-2/cancel")).status == 503


async def test_an_emptied_bus_makes_nobody_dead(tmp_path: Path) -> None:
    """While a bus that was emptied is being filled, who has no lease there and is not heard is not taken for dead."""
    async with joined(events_then_hang(SAID), tmp_path, "a") as ((a,), _, redis):
        assert a.app.cluster is not None
        undertaker = a.app.cluster.undertaker
        assert await undertaker.is_dead("z")
        redis.command("FLUSHALL")

        async def is_spared() -> bool:
            with suppress(BusUnavailableError):
                return not await undertaker.is_dead("z")
            return False

        await eventually(is_spared)


@pytest.mark.parametrize("is_deaf", [False, True])
async def test_answers_do_not_stay_at_the_bus(tmp_path: Path, is_deaf: bool) -> None:
    """An answer that was read is gone from the bus, be it a long record or a receipt, heard or looked for."""
    said = chat_events(2 * INLINE_BYTES // 5)[:-2]
    async with joined(events_then_hang(said), tmp_path, **QUICK) as ((a, b), _, redis), RawClient(a.port) as client:
        await start(client, "t-1")
        await client.until(b"data:", len(said))
        await known(b, "t-1")
        if is_deaf:
            deafen(b)
        for _ in range(3):
            told = await send(b, "GET", "/v1/generations/t-1")
            assert told.json()["outcome"] == "running"
            assert len(told.body) > INLINE_BYTES
        assert (await stop(b, "t-1")).json()["result"] == "stopped"
        await eventually(lambda: not any(b":reply:" in name for name in redis.names()))
