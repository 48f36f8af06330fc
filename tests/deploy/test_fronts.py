"""nginx, HAProxy, Caddy and Envoy in front of the proxy, with the files that are shipped: what must pass through."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner

from proxy.cli.doctor.command import doctor
from proxy.core.settings.settings import UpstreamSettings
from proxy.demo.upstream import start_demo_upstream
from proxy.edge.server import KEEPALIVE
from support.chat import DONE, chat_events
from support.client import Answer, RawClient
from support.deploy_files import settings_of
from support.fronts import FRONTS, checked, in_front, shipped
from support.http_bytes import header
from support.program import ADMIN_TOKEN, ROOT, Program, config_text, running_program
from support.scripts import SSE, by_path, events_then_hang, hang, json_answer
from support.stops import CHAT, PLAIN, STREAM
from support.upstream import Conn, Script, ScriptedUpstream, scripted_upstream
from support.wait import eventually

every_front = pytest.mark.parametrize("name", FRONTS)

SILENCE = {
    "nginx": r"proxy_read_timeout (\d+[ms])",
    "haproxy": r"timeout server (\d+[ms])",
    "envoy": r"stream_idle_timeout: (\d+[ms])",
}
"""Where a front's patience with a stream that says nothing stands; Caddy's is without end."""

REPLICA = {
    "QUELL_ADMIN_TOKEN": "token-of-operators",
    "OPENAI_API_KEY": "sk-1",
    "APPS_KEY_SHA256": "a" * 64,
    "QUELL_LEDGER": "postgresql://quell:pw@postgres/quell?sslmode=disable",
    "QUELL_BUS_SECRET": "a-secret-of-the-replicas",
}
"""What config/replicas.yaml asks for."""

SPOILT = {
    "nginx": {"proxy_ignore_client_abort off": "proxy_ignore_client_abort on"},
    "haproxy": {"option abortonclose": "no option abortonclose"},
    "caddy": {"transport http {": "flush_interval -1\n\t\ttransport http {"},
}
"""What hides from the proxy that a client has left."""


@dataclass
class Site:
    """An upstream, the proxy before it, and a front before that."""

    up: ScriptedUpstream
    program: Program
    port: int


@asynccontextmanager
async def site(name: str, script: Script, folder: Path) -> AsyncIterator[Site]:
    """All of it, running; the front has found the proxy ready."""
    async with (
        scripted_upstream(script) as up,
        running_program(config_text(up.base_url), folder) as program,
        in_front(name, program.port, program.admin_port, folder) as port,
    ):
        await eventually(lambda: leads_to_it(port), 30, f"{name} leads to the proxy")
        yield Site(up, program, port)


async def leads_to_it(port: int) -> bool:
    """Whether the proxy answers through the front; nothing is asked of the upstream for that."""
    async with RawClient(port) as client:
        await client.get("/v1/generations")
        return (await client.answer()).status == 200


async def stop(port: int, task: str) -> Answer:
    """Stop a generation through the front."""
    async with RawClient(port) as client:
        await client.post(f"/v1/generations/{task}/cancel")
        return await client.answer()


@every_front
async def test_stops_pass(name: str, tmp_path: Path) -> None:
    """A stop by the chosen id closes the upstream: in a stream, which ends properly, and before any byte."""
    async with site(name, events_then_hang(chat_events(3)[:-2]), tmp_path) as all_of_it:
        async with RawClient(all_of_it.port) as client:
            await client.post(CHAT, STREAM, [("X-Task-Id", "behind-a-front")])
            await client.until(b"data: ", count=3)
            assert (await stop(all_of_it.port, "behind-a-front")).json()["result"] == "stopped"
            answer = await client.answer()
        assert answer.header("X-Task-Id") == "behind-a-front"
        assert answer.header("X-Message-Id")
        assert answer.body.endswith(DONE)
        assert answer.complete
        await all_of_it.up.no_connections()

        all_of_it.up.script = hang()
        async with RawClient(all_of_it.port) as client:
            await client.post(CHAT, PLAIN, [("X-Task-Id", "too-early")])
            await all_of_it.up.conn(1)
            assert (await stop(all_of_it.port, "too-early")).json()["result"] == "stopped"
            assert (await client.answer()).status == 499
        await all_of_it.up.no_connections()


@every_front
async def test_departures_pass(name: str, tmp_path: Path) -> None:
    """A client that leaves is seen to leave while the upstream is silent: in a stream, and before any byte."""
    async with site(name, events_then_hang(chat_events(3)[:-2]), tmp_path) as all_of_it:
        async with RawClient(all_of_it.port) as client:
            await client.post(CHAT, STREAM)
            await client.until(b"data: ", count=3)
        await all_of_it.up.no_connections()

        all_of_it.up.script = hang()
        for number, body in enumerate((STREAM, PLAIN), 1):
            async with RawClient(all_of_it.port) as client:
                await client.post(CHAT, body)
                await all_of_it.up.conn(number)
            await all_of_it.up.no_connections()


@every_front
async def test_every_event_comes_at_once(name: str, tmp_path: Path) -> None:
    """Each event is with the client before the upstream sends the next one."""
    events, arrived = chat_events(5), asyncio.Semaphore(0)

    async def one_by_one(conn: Conn) -> None:
        await conn.head(200, SSE)
        for event in events:
            await conn.chunk(event)
            await arrived.acquire()
        await conn.end()

    async with site(name, one_by_one, tmp_path) as all_of_it, RawClient(all_of_it.port) as client:
        await client.post(CHAT, STREAM)
        for count in range(1, len(events) + 1):
            await client.until(b"data: ", count=count)
            arrived.release()
        assert (await client.answer()).events[-1] == DONE


@every_front
async def test_doctor_finds_nothing_wrong(name: str, tmp_path: Path) -> None:
    """`quell doctor` streams, stops and leaves through the front, and every check of it is ok."""
    code, checks = await doctor_behind(name, tmp_path, {})
    assert (code, {key: each for key, each in checks.items() if each != "ok"}) == (0, {})
    assert {"stream", "stop", "disconnect", "early disconnect"} <= set(checks)


@pytest.mark.parametrize("name", SPOILT)
async def test_doctor_finds_what_hides_a_departure(name: str, tmp_path: Path) -> None:
    """One wrong line in the front's file, and a client that leaves is no longer seen to leave: doctor says so."""
    code, checks = await doctor_behind(name, tmp_path, SPOILT[name])
    assert code == 6
    assert "fail" in {checks["disconnect"], checks["early disconnect"]}
    assert checks["stop"] == "ok"


async def doctor_behind(name: str, folder: Path, spoilt: dict[str, str]) -> tuple[int, dict[str, str]]:
    """The exit code of `quell doctor` through a front, and what it found."""
    demo = await start_demo_upstream("127.0.0.1", 0)
    try:
        async with (
            running_program(config_text(demo.base_url), folder) as program,
            in_front(name, program.port, program.admin_port, folder, spoilt) as port,
        ):
            await eventually(lambda: leads_to_it(port), 30, f"{name} leads to the proxy")
            env = {"QUELL_ADMIN": program.admin_url, "QUELL_ADMIN_TOKEN": ADMIN_TOKEN}
            arguments = (f"http://127.0.0.1:{port}", "--wait", "3s", "-o", "json")
            result = await asyncio.to_thread(CliRunner().invoke, doctor, arguments, env=env)
    finally:
        await demo.stop()
    return result.exit_code, {each["name"]: each["verdict"] for each in json.loads(result.stdout)["checks"]}


@every_front
async def test_a_call_is_sent_once(name: str, tmp_path: Path) -> None:
    """When what is behind it breaks off without an answer, a front refuses, and sends the call nowhere again."""

    async def break_off(conn: Conn) -> None:
        conn.reset()

    async with stand_in(name, tmp_path) as (behind, port):
        behind.script, before = by_path({"/readyz": json_answer({}), CHAT: break_off}), calls(behind)
        async with RawClient(port) as client:
            await client.post(CHAT, STREAM)
            assert (await client.answer()).status in {502, 503}
        assert calls(behind) == before + 1


@every_front
async def test_who_the_caller_is_comes_from_the_front(name: str, tmp_path: Path) -> None:
    """The last address in X-Forwarded-For is one that the front saw, whatever its caller claims."""
    async with stand_in(name, tmp_path) as (behind, port):
        async with RawClient(port) as client:
            await client.post(CHAT, PLAIN, [("X-Forwarded-For", "203.0.113.9"), ("X-Task-Id", "mine")])
            await client.answer()
        [headers] = [each.headers for each in behind.requests if header(each.headers, "X-Task-Id") == "mine"]
        last = (header(headers, "X-Forwarded-For") or "").split(",")[-1].strip()
        assert last != "203.0.113.9"
        assert last == "127.0.0.1" or name == "envoy"  # in place of loopback Envoy says which address it has itself
        assert header(headers, "X-Forwarded-Proto") == "http"


@asynccontextmanager
async def stand_in(name: str, folder: Path) -> AsyncIterator[tuple[ScriptedUpstream, int]]:
    """A front before a server that takes everything, in place of the proxy and its admin listener; and its port."""
    async with scripted_upstream(json_answer({})) as behind, in_front(name, behind.port, behind.port, folder) as port:
        await eventually(lambda: is_found(port), 30, f"{name} leads there")
        yield behind, port


async def is_found(port: int) -> bool:
    """Whether the front leads to where it should."""
    async with RawClient(port) as client:
        await client.post(CHAT, PLAIN)
        return (await client.answer()).status == 200


def calls(behind: ScriptedUpstream) -> int:
    """How many calls have come, without the front's questions for readiness."""
    return sum(each.target == CHAT for each in behind.requests)


@every_front
def test_the_file_is_taken(name: str, tmp_path: Path) -> None:
    """The front itself finds nothing wrong with the file, but for names that only Docker knows."""
    text = FRONTS[name].changes(shipped(name), 8484, 8485, 8080)
    said = checked(name, text, tmp_path)
    assert not re.search(r"\b(warn|warning|error|alert|deprecated)\b", said, re.IGNORECASE), said


@every_front
def test_no_idle_connection_is_used_that_may_be_gone(name: str) -> None:
    """A front lets go of idle connections sooner than the proxy closes them: a POST must not meet a closed one."""
    found = re.search(
        r"^\s*[^#\n]*?(?<!_)\b(?:keepalive_timeout|keepalive|idle_timeout:) (\d+)s", shipped(name), re.MULTILINE
    )
    if name == "haproxy":  # it sends the first request of a client on a connection of its own, and repeats no other
        assert found is None
        return
    assert found
    assert int(found[1]) < KEEPALIVE


@every_front
def test_no_front_ends_what_the_proxy_lets_run(name: str) -> None:
    """A front waits longer than the proxy does, so that the proxy decides."""
    if name not in SILENCE:
        assert "timeout" not in shipped(name).replace("dial_timeout", "")
        return
    found = re.search(SILENCE[name], shipped(name))
    assert found
    example = settings_of(ROOT / "config" / "replicas.yaml", **REPLICA).upstreams["openai"].timeouts.total
    total = example if name == "haproxy" else UpstreamSettings(base_url="http://up/v1").timeouts.total
    assert int(found[1][:-1]) * {"m": 60, "s": 1}[found[1][-1]] > total
