"""A stop that lands on any replica: the owner does it, and every answer is true."""

import socket
import sys
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from proxy.app import StartError
from support.chat import DONE, UPSTREAM_ID, chat_events, text
from support.client import RawClient
from support.edge import refused
from support.program import config_text
from support.proxy import RunningProxy, running_proxy, settings_of
from support.redis_server import RedisServer, redis_server
from support.replicas import identity_of, known, replica_text, replicas
from support.scripts import events_then_hang, hang, sse_stream
from support.stops import Ask, record, settled, start, stop
from support.upstream import ScriptedUpstream, scripted_upstream
from support.wait import eventually

SAID = chat_events(8)[:-2]
"""A stream that is not over."""


@pytest.fixture
async def redis(tmp_path: Path) -> AsyncIterator[RedisServer]:
    """A server."""
    async with redis_server(tmp_path) as server:
        yield server


@pytest.fixture
async def up() -> AsyncIterator[ScriptedUpstream]:
    """An upstream that says eight words and hangs."""
    async with scripted_upstream(events_then_hang(SAID)) as upstream:
        yield upstream


@pytest.fixture
async def abc(tmp_path: Path, up: ScriptedUpstream, redis: RedisServer) -> AsyncIterator[list[RunningProxy]]:
    """Three replicas."""
    async with replicas(tmp_path, up.base_url, redis.url) as started:
        yield started


@pytest.mark.parametrize("by", ["task id", "message id", "upstream id"])
async def test_a_stop_through_another_replica(abc: list[RunningProxy], up: ScriptedUpstream, by: str) -> None:
    """X10: a stop at another replica closes the upstream, ends the stream properly, and answers like the owner does."""
    a, b, c = abc
    async with RawClient(a.port) as client:
        await start(client, "t-1")
        head = await client.until(b"data:", len(SAID))
        ids = {"task id": "t-1", "upstream id": UPSTREAM_ID, "message id": _header(head, "X-Message-Id")}
        await known(b, ids[by])
        answer = await stop(b, ids[by], body={"reason": "enough"})
        conn = await up.conn()
        assert conn.closed.is_set()
        receipt = answer.json()
        rest = await client.answer()
    assert answer.status == 200
    assert {name: receipt[name] for name in ("task_id", "result", "status", "cause", "phase")} == {
        "task_id": "t-1",
        "result": "stopped",
        "status": "cancelled",
        "cause": "client",
        "phase": "streaming",
    }
    assert receipt["partial"] == {"characters": len(text(8)), "text": text(8)}
    assert receipt["upstream_closed_ms"] is not None
    assert rest.events[-1] == DONE
    kept = await record(a, "t-1")
    assert (kept["outcome"], kept["reason"], kept["replica"]) == ("cancelled", "enough", "a")
    for other in (a, b, c):
        assert (await stop(other, "t-1")).json() == receipt


def _header(head: bytes, name: str) -> str:
    for line in head.decode("latin-1").split("\r\n"):
        if line.lower().startswith(f"{name.lower()}: "):
            return line.partition(": ")[2]
    raise AssertionError(f"no {name} in {head!r}")


async def test_somebody_elses_id_looks_unknown(abc: list[RunningProxy], up: ScriptedUpstream) -> None:
    """X14, X15: through every replica a foreign id is answered byte for byte like an unknown one; its owner goes on."""
    a, b, c = abc
    async with RawClient(a.port) as client:
        await start(client, "t-1", ask=Ask("ann"))
        await client.until(b"data:", len(SAID))
        await known(b, "t-1", identity_of("ann"))
        for proxy in (a, b, c):
            foreign, unknown = await stop(proxy, "t-1", Ask("bob")), await stop(proxy, "t-2", Ask("bob"))
            assert (foreign.status, foreign.body) == (unknown.status, unknown.body)
            assert refused(foreign) == (404, "not_found")
        conn = await up.conn()
        assert not conn.closed.is_set()
        assert (await record(a, "t-1", Ask("ann")))["outcome"] == "running"
        assert (await stop(c, "t-1", Ask("ann"))).json()["result"] == "stopped"


async def test_what_is_over_is_answered_by_its_owner(abc: list[RunningProxy], up: ScriptedUpstream) -> None:
    """A generation that completed is `already_finished` everywhere, with its numbers."""
    a, b, _ = abc
    up.script = sse_stream(chat_events(5))
    async with RawClient(a.port) as client:
        await start(client, "t-1")
        await client.answer()
    here = (await stop(a, "t-1")).json()
    assert (here["result"], here["status"]) == ("already_finished", "completed")
    assert (await stop(b, "t-1")).json() == here


def nothing_waits(proxy: RunningProxy) -> bool:
    """Whether no stop waits here for its generation."""
    return not len(proxy.app.engine.registry._tombstones)


def runs_one(proxy: RunningProxy) -> bool:
    """Whether one generation lives here."""
    return len(proxy.app.engine.registry) == 1


async def test_a_stop_before_its_generation(abc: list[RunningProxy], up: ScriptedUpstream) -> None:
    """A stop at one replica, for an id that then begins at another, stops it there; once, and wherever it asked."""
    a, b, _ = abc
    up.script = hang()
    assert refused(await stop(b, "t-1")) == (404, "not_found")
    async with RawClient(a.port) as client:
        await start(client, "t-1")
        answer = await client.answer()
    assert (answer.status, answer.json()["error"]["code"]) == (499, "generation_cancelled")
    assert (await record(a, "t-1"))["outcome"] == "cancelled"
    for proxy in (a, b):
        await eventually(partial(nothing_waits, proxy), what="nothing is remembered")
        await settled(proxy)
        async with RawClient(proxy.port) as client:
            await start(client, "t-1")
            await eventually(partial(runs_one, proxy))
            await known(b, "t-1")
            assert runs_one(proxy)
            assert (await stop(proxy, "t-1")).json()["result"] == "stopped"


async def test_each_process_has_a_name_of_its_own(tmp_path: Path, up: ScriptedUpstream, redis: RedisServer) -> None:
    """With `replica: auto` no two processes of a machine share a name, and the record says which one it was."""
    names = set()
    for each in "ab":
        own = tmp_path / f"auto-{each}"
        own.mkdir()
        async with running_proxy(replica_text(up.base_url, redis.url, "auto"), own) as proxy:
            async with RawClient(proxy.port) as client:
                await start(client, "t-1")
                await client.until(b"data:", len(SAID))
                names.add((await record(proxy, "t-1"))["replica"])
    assert len(names) == 2
    assert all(name.startswith(socket.gethostname()[:50] + "-") for name in names)


async def test_another_bus_needs_a_restart(tmp_path: Path, up: ScriptedUpstream, redis: RedisServer) -> None:
    """A reload that changes the bus says that it takes a restart."""
    text = replica_text(up.base_url, redis.url, "a")
    async with running_proxy(text, tmp_path) as proxy:
        changed = settings_of(replica_text(up.base_url, redis.url, "a", bus={"lease": "20s"}), tmp_path)
        proxy.app._reread = lambda: changed
        assert await proxy.app.reload() == ["bus"]


async def test_a_package_that_is_missing(tmp_path: Path, up: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bus without its package is a clear error at the start, and nothing stays open."""
    monkeypatch.setitem(sys.modules, "proxy.stores.bus.redis", None)
    with pytest.raises(StartError, match=r"install quell\[distributed\]"):
        async with running_proxy(replica_text(up.base_url, "redis://127.0.0.1:1", "a"), tmp_path):
            pass


async def test_a_replica_alone_needs_no_bus(tmp_path: Path, up: ScriptedUpstream) -> None:
    """Without a bus nothing is asked of one: an unknown id is 404, and the gauge is 1."""
    async with running_proxy(config_text(up.base_url), tmp_path) as proxy:
        assert refused(await stop(proxy, "t-1")) == (404, "not_found")
        (sample,) = next(iter(proxy.app.engine.metrics.bus_up.collect())).samples
        assert sample.value == 1
