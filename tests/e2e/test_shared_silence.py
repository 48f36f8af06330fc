"""What is said of a generation whose owner can't be asked, and whose start the ledger has: no more than is known.

The bus is away, or the owner is there and answers nothing, or it was killed.
"""

import asyncio
import json
import signal
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from structlog.testing import capture_logs

from proxy.cli.admin_client import Exit
from proxy.cli.ps import ps
from proxy.cli.stop import NOTHING_HERE
from proxy.cli.stop import stop as stop_command
from proxy.cli.tail import SILENT, tail
from support.chat import chat_events
from support.client import RawClient
from support.edge import refused, send
from support.postgres import Database
from support.program import ADMIN_TOKEN
from support.proxy import RunningProxy
from support.replicas import deafen, known, programs
from support.scripts import events_then_hang
from support.shared import admin, is_shared, lose_bus, sharing
from support.stops import record, start
from support.wait import eventually, within

SAID = chat_events(8)[:-2]
"""A stream that is not over."""
STREAM = events_then_hang(SAID)
EVENTS = "/v1/generations/t-1/events"
QUICK = {"confirm_timeout": "300ms"}
UNKNOWN: dict[str, Any] = {"elapsed_seconds": None, "characters": None, "text": None, "first_token_at": None}


async def run(command: click.Command, *arguments: str, url: str) -> Result:
    """Run a command in a thread, with the tests' admin token."""
    env = {"QUELL_ADMIN": url, "QUELL_ADMIN_TOKEN": ADMIN_TOKEN, "NO_COLOR": "1"}
    with capture_logs():
        running = asyncio.to_thread(CliRunner().invoke, command, arguments, env=env)
        return await within(running, f"{command.name} ends", 30.0)


async def streams(client: RawClient, database: Database, task_id: str = "t-1") -> None:
    """Begin a stream, and wait until the ledger has its start."""
    await start(client, task_id)
    await client.until(b"data:", len(SAID))
    await is_shared(database)


async def events_are_refused(proxy: RunningProxy) -> None:
    """The events of t-1 may come later: 503 for its caller and for the operator, and so says `quell tail`."""
    for answer in (await send(proxy, "GET", EVENTS), await admin(proxy, "GET", "/t-1/events")):
        assert refused(answer) == (503, "bus_unavailable")
        assert answer.header("Retry-After") is not None
    shown = await run(tail, "t-1", url=proxy.admin_url)
    assert (shown.exit_code, SILENT in shown.stderr) == (Exit.FAILED, True)


async def test_without_the_bus(tmp_path: Path, database: Database) -> None:
    """Its events are a 503; its record says that it runs, unconfirmed, and nothing of its length or phase."""
    async with sharing(STREAM, tmp_path, database.url) as (a, b, redis, _), RawClient(a.port) as client:
        await streams(client, database)
        await lose_bus(redis, a, b)
        await events_are_refused(b)
        for found in (await record(b, "t-1"), (await admin(b, "GET", "/t-1")).json()):
            assert {name: found[name] for name in UNKNOWN} == UNKNOWN
            assert (found["outcome"], found["phase"], found["unconfirmed"]) == ("running", None, True)
        own = await record(a, "t-1")
        assert (own["phase"], "unconfirmed" in own) == ("streaming", False)
        bulk = await run(stop_command, "--all", "-y", url=b.admin_url)
        assert (bulk.exit_code, bulk.stdout) == (Exit.NOT_CONFIRMED, "")
        assert NOTHING_HERE in bulk.stderr
        last = await run(stop_command, "--last", url=b.admin_url)
        assert (last.exit_code, "could not be asked" in last.stderr) == (Exit.NOT_CONFIRMED, True)


async def test_events_that_are_gone(tmp_path: Path, database: Database) -> None:
    """What the shared ledger knows to be over has no events any more: 410, also while the bus is away."""
    async with sharing(STREAM, tmp_path, database.url) as (a, b, redis, _):
        async with RawClient(a.port) as client:
            await streams(client, database)
            await send(a, "POST", "/v1/generations/t-1/cancel")
        await is_shared(database, 0)
        await lose_bus(redis, a, b)
        for answer in (await send(b, "GET", EVENTS), await admin(b, "GET", "/t-1/events")):
            assert refused(answer) == (410, "events_gone")


async def test_an_owner_that_says_nothing(tmp_path: Path, database: Database) -> None:
    """Its events are a 503; its record has what the directory heard; lists and `ps` mark it, and have no age of it."""
    cancellation = {"cancellation": QUICK}
    async with (
        sharing(STREAM, tmp_path, database.url, **cancellation) as (a, b, _, _),
        RawClient(a.port) as client,
        RawClient(b.port) as other,
    ):
        await streams(client, database)
        await known(b, "chatcmpl-scripted-1")
        await start(other, "t-2")
        await other.until(b"data:", len(SAID))
        table = (await run(ps, url=b.admin_url)).stdout.splitlines()
        assert table[0].split()[-1] == "REPLICA"
        assert [(line.split()[2], line.split()[-1]) for line in table[1:]] == [("streaming", "b"), ("streaming", "a")]
        deafen(a)
        await events_are_refused(b)
        found = await record(b, "t-1")
        assert (found["unconfirmed"], found["elapsed_seconds"], found["characters"]) == (True, None, None)
        assert found["upstream_id"] == "chatcmpl-scripted-1"
        listed = (await send(b, "GET", "/v1/generations")).json()["data"]
        assert [(each["task_id"], each.get("unconfirmed", False)) for each in listed] == [("t-2", False), ("t-1", True)]
        table = (await run(ps, url=b.admin_url)).stdout.splitlines()
        assert (table[2].split()[:3], table[2].split()[-2:]) == (["t-1", "-", "unconfirmed"], ["-", "a"])
        assert [
            each.get("unconfirmed") for each in json.loads((await run(ps, "-o", "json", url=b.admin_url)).stdout)
        ] == [
            None,
            True,
        ]
        bulk = (await admin(b, "POST", "/cancel", b'{"all": true}')).json()
        assert (bulk["stopped"], bulk["count"], bulk["unconfirmed"]) == (["t-2"], 1, ["t-1"])


async def test_what_is_over_is_not_listed(tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a silent replica ran by the directory, and the ledger knows to be over, is no live one in any list."""
    async with sharing(STREAM, tmp_path, database.url) as (a, b, _, _):
        async with RawClient(a.port) as client:
            await streams(client, database)
            await known(b, "t-1")
            monkeypatch.setattr(a.app.engine.announcing, "settled", lambda _relay: None)
            deafen(a)
            assert (await send(a, "POST", "/v1/generations/t-1/cancel")).json()["result"] == "stopped"
        await is_shared(database, 0)
        live = (await admin(b, "GET", "?state=live")).json()
        assert (live["data"], live["complete"]) == ([], False)
        (own,) = (await send(b, "GET", "/v1/generations")).json()["data"]
        assert own["outcome"] == "cancelled"


async def test_a_killed_owner(tmp_path: Path, database: Database) -> None:
    """Its record is interrupted, and so the receipt: nobody knows how long it ran, or what came of it."""
    ledger: dict[str, Any] = {"ledger": {"url": database.url, "text": "all"}}
    async with programs(tmp_path, **ledger) as ((a, b), _, redis), RawClient(a.port) as client:
        await streams(client, database)
        await eventually(lambda: any(b"g:" in name for name in redis.names()), what="the bus knows it")
        a.kill()

        async def receipt() -> dict[str, Any]:
            async with RawClient(b.port) as caller:
                await caller.post("/v1/generations/t-1/cancel", b"")
                found: dict[str, Any] = (await caller.answer()).json()
            return found if found["status"] == "interrupted" else {}

        said = await eventually(receipt, 30.0, "the owner is known to be dead")
        assert (said["result"], said["elapsed_seconds"], said["partial"]["characters"]) == (
            "already_finished",
            None,
            None,
        )
        await is_shared(database, 0)
        stopped = await run(stop_command, "t-1", url=b.admin_url)
        assert (stopped.stdout, stopped.exit_code) == (
            "t-1 had already finished (interrupted)\n",
            Exit.ALREADY_FINISHED,
        )
        shown = await run(tail, "t-1", url=b.admin_url)
        assert "characters" not in shown.output


async def test_an_owner_that_stands_still_is_not_buried(tmp_path: Path, database: Database) -> None:
    """P9: it renews no lease for twice its length, and the bus takes it for alive: its record runs on, and is whole."""
    config: dict[str, Any] = {"ledger": {"url": database.url, "text": "all"}}
    async with programs(tmp_path, **config) as ((a, b), _, redis), RawClient(a.port) as client:
        await streams(client, database)
        await eventually(lambda: any(b"g:" in name for name in redis.names()), what="the bus knows it")
        a.signal(signal.SIGSTOP)
        lease = "SELECT count(*) FROM lease WHERE until < extract(epoch FROM clock_timestamp()) - 4"
        await eventually(lambda: database.sql(lease) == [["1"]], 30.0, "the lease has been over for a whole one")
        assert database.sql("SELECT outcome FROM generation") == [["running"]]
        assert "records_interrupted" not in b.log()
        a.signal(signal.SIGCONT)
        async with RawClient(a.port) as caller:
            await caller.post("/v1/generations/t-1/cancel", b"")
            assert (await caller.answer()).json()["result"] == "stopped"
        await is_shared(database, 0)
        assert database.sql("SELECT outcome, completion_tokens > 0 FROM generation") == [["cancelled", "t"]]
