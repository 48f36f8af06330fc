"""The end of a replica as its clients and its balancer see it: connections that end cleanly, and what may linger."""

import signal
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from support.chat import DONE, text
from support.client import RawClient
from support.held import HELD_TOKENS, SAID, Held
from support.program import Program, config_text, running_program
from support.redis_server import redis_server
from support.replicas import SECRET
from support.stops import CHAT, STREAM
from support.upstream import scripted_upstream
from support.wait import eventually
from support.workers import rows

LONG_DRAIN = {"ready_delay": "0s", "timeout": "1m"}
RECORD = "SELECT route, outcome, cause, text FROM generation"


async def drains(program: Program) -> None:
    """Send SIGTERM, and wait until the drain has begun."""
    program.signal(signal.SIGTERM)
    await eventually(lambda: '"drain.begun"' in program.log(), what="the drain has begun")


async def is_draining(program: Program) -> float:
    """What the metric `quell_draining` says."""
    async with RawClient(program.admin_port) as client:
        await client.get("/metrics")
        lines = (await client.answer()).body.decode().splitlines()
    (found,) = [line for line in lines if line.startswith("quell_draining ")]
    return float(found.partition(" ")[2])


async def test_answers_say_that_they_are_their_connections_last(tmp_path: Path) -> None:
    """From SIGTERM on new work is served, and its answer closes the connection; what began before ends as it began."""
    script = Held()
    drain = {"ready_delay": "30s", "timeout": "30s"}
    async with (
        scripted_upstream(script) as up,
        running_program(config_text(up.base_url, drain=drain), tmp_path) as program,
        RawClient(program.port) as old,
        RawClient(program.port) as idle,
        RawClient(program.port) as new,
    ):
        await old.post(CHAT, STREAM)
        await old.until(b"data:", len(SAID))
        await idle.get("/v1/generations")
        assert (await idle.answer()).header("Connection") is None
        assert await is_draining(program) == 0
        await drains(program)
        assert await is_draining(program) == 1
        await new.post(CHAT, STREAM)
        await new.until(b"data:", len(SAID))
        await idle.get("/v1/generations")
        seen_off = await idle.answer()
        assert (seen_off.status, seen_off.header("Connection")) == (200, "close")
        assert await idle.rest() == b""
        script.let_go.set()
        before, after = await old.answer(), await new.answer()
        assert before.header("Connection") is None
        assert after.header("Connection") == "close"
        assert before.events[-1] == after.events[-1] == DONE
        assert await new.rest() == b""
        await old.get("/v1/generations")
        assert (await old.answer()).header("Connection") == "close"
        program.signal(signal.SIGTERM)
        assert await program.exit_code() == 0


async def test_nothing_lingers_for_whom_nobody_leads_back(tmp_path: Path) -> None:
    """Without a bus no other replica could serve a client that comes back: what lingers for one ends with the drain.

    That is so for a client that left before, and for one that leaves during the drain; the partials are kept.
    """
    route = {"on_disconnect": "linger", "linger": "10m"}
    async with (
        scripted_upstream(Held()) as up,
        running_program(config_text(up.base_url, route=route, drain=LONG_DRAIN), tmp_path) as program,
        AsyncExitStack() as stack,
    ):
        stays = await stack.enter_async_context(RawClient(program.port))
        async with RawClient(program.port) as leaves:
            for client in (stays, leaves):
                await client.post(CHAT, STREAM)
                await client.until(b"data:", len(SAID))
        await drains(program)
        await eventually(lambda: up.connections == 1, what="the one that lingered has ended")
        assert program.running
        stays.reset()
        assert await program.exit_code() == 0
    assert rows(tmp_path / "quell.db", RECORD) == [("/v1", "client_gone", "disconnect", text(HELD_TOKENS))] * 2


@pytest.mark.parametrize("rule", ["linger", "finish"])
async def test_what_is_wanted_without_a_client_ends_by_itself(tmp_path: Path, rule: str) -> None:
    """What finishes, and with a bus what lingers, is waited for within `drain.timeout`: its record is completed."""
    script = Held()
    routes = [
        {"path": "/v1", "dialect": "openai", "upstream": "up", "on_disconnect": rule, "linger": "10m"},
        {"path": "/short", "dialect": "openai", "upstream": "up", "on_disconnect": "linger", "linger": "50ms"},
    ]
    async with redis_server(tmp_path) as redis, scripted_upstream(script) as up:
        bus = {"url": redis.url, "secret": SECRET} if rule == "linger" else {}
        config = config_text(up.base_url, routes=routes, bus=bus, drain=LONG_DRAIN, ledger={"text": "all"})
        async with running_program(config, tmp_path) as program, RawClient(program.port) as short:
            await short.post("/short/chat/completions", STREAM)
            async with RawClient(program.port) as client:
                await client.post(CHAT, STREAM)
                for each in (short, client):
                    await each.until(b"data:", len(SAID))
            await drains(program)
            short.reset()
            await eventually(lambda: up.connections == 1, what="what lingered shortly has ended, by the same sweeps")
            script.let_go.set()
            assert await program.exit_code() == 0
    ended = {route: rest for route, *rest in rows(tmp_path / "quell.db", RECORD)}
    assert ended["/v1"] == ["completed", None, text(HELD_TOKENS)]
    assert ended["/short"][0] == "client_gone"
