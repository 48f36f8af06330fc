"""The program on a disk that fails or is slow: what runs goes on, new work is refused, nothing told is lost."""

import asyncio
import re
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from proxy.stores.ledger.verify import verify_file
from support.chat import chat_events, text
from support.client import Answer, RawClient
from support.program import Program, config_text, running_program
from support.scripts import SSE
from support.stops import CHAT, STREAM
from support.strace import can_attach, injected
from support.upstream import Conn, ScriptedUpstream, scripted_upstream
from support.wait import eventually

EVENTS = chat_events(8)
LONG = 30.0
"""Seconds until a refusal: 5 for the late START, and a busy machine."""

pytestmark = pytest.mark.skipif(not can_attach(), reason="needs strace, and the right to trace")


@dataclass
class Scene:
    """A program with a stream that runs: three words came, the rest when it is released."""

    program: Program
    up: ScriptedUpstream
    client: RawClient
    release: asyncio.Event


@asynccontextmanager
async def a_scene(folder: Path) -> AsyncIterator[Scene]:
    """All of it."""
    release = asyncio.Event()

    async def script(conn: Conn) -> None:
        await conn.head(200, SSE)
        await conn.chunk(b"".join(EVENTS[:4]))
        await release.wait()
        await conn.chunk(b"".join(EVENTS[4:]))
        await conn.end()

    async with scripted_upstream(script) as up:
        config = config_text(up.base_url, ledger={"flush": "50ms", "text": "all"})
        async with running_program(config, folder) as program, RawClient(program.port) as client:
            await client.post(CHAT, STREAM, [("X-Task-Id", "runs")])
            await client.until(b"data:", 4)
            await eventually(lambda: rows(folder).get("runs"), what="its START is on disk")
            yield Scene(program, up, client, release)


def rows(folder: Path) -> dict[str, tuple[str, str | None]]:
    """Outcome and text by task id."""
    with closing(sqlite3.connect(f"file:{folder / 'quell.db'}?mode=ro", uri=True)) as db:
        return {
            task: (outcome, kept) for task, outcome, kept in db.execute("SELECT task_id, outcome, text FROM generation")
        }


async def called(program: Program, task_id: str) -> Answer:
    """A call to its end."""
    async with RawClient(program.port) as client:
        await client.post(CHAT, STREAM, [("X-Task-Id", task_id)])
        return await client.answer()


async def probed(program: Program, path: str) -> Answer:
    """A probe's answer."""
    async with RawClient(program.admin_port) as client:
        await client.get(path)
        return await client.answer()


async def counted(program: Program) -> bool:
    """Whether the metrics have one transaction that failed."""
    return b'quell_ledger_writes_total{result="error"} 1.0' in (await probed(program, "/metrics")).body


async def refused(scene: Scene) -> Answer:
    """The answer to new work, once it is refused before the upstream is called."""
    answers: list[Answer] = []

    async def asked() -> bool:
        before = len(scene.up.requests)
        answers.append(await called(scene.program, "new"))
        return answers[-1].status == 503 and len(scene.up.requests) == before

    await eventually(asked, LONG, "new work is refused before the upstream is called")
    return answers[-1]


async def well_again(scene: Scene) -> None:
    """Wait until it is ready, and see that new work is done."""

    async def ready() -> bool:
        return (await probed(scene.program, "/readyz")).status == 200

    await eventually(ready, what="it is ready again")
    assert (await called(scene.program, "after")).body == b"".join(EVENTS)


def in_order(folder: Path) -> None:
    """The records are those of what ran, whole, and nothing else is wrong with the ledger."""
    found = rows(folder)
    assert found["runs"] == found["after"] == ("completed", text(8))
    assert all(outcome in {"completed", "failed"} for outcome, _ in found.values())
    assert verify_file(folder / "quell.db").findings == []


async def test_a_sync_that_fails_once_is_written_again(tmp_path: Path) -> None:
    """S8: EIO of one fdatasync is logged and counted, and its transaction written again, before anybody is told."""
    async with a_scene(tmp_path) as scene:
        async with injected(scene.program.pid, "fdatasync:error=EIO:when=1"):
            scene.release.set()
            assert (await called(scene.program, "after")).body == b"".join(EVENTS)
            assert (await scene.client.answer()).body == b"".join(EVENTS)
            await eventually(lambda: "ledger.write_recovered" in scene.program.log(), what="it is written again")
        assert scene.program.log().count("ledger.write_failed") == 1
        await eventually(lambda: counted(scene.program), what="it is counted")
        await eventually(lambda: rows(tmp_path)["runs"][0] == "completed", what="the last END is written")
        scene.program.kill()
    in_order(tmp_path)


async def test_a_disk_that_became_read_only(tmp_path: Path) -> None:
    """S4: writes get EROFS: not ready, new work gets 503, the running stream ends; later all is written."""
    async with a_scene(tmp_path) as scene:
        async with injected(scene.program.pid, "pwrite64:error=EROFS"):
            assert (await refused(scene)).json()["error"]["code"] == "ledger_unavailable"
            assert (await probed(scene.program, "/readyz")).status == 503
            scene.release.set()
            assert (await scene.client.answer()).body == b"".join(EVENTS)
            assert rows(tmp_path)["runs"][0] == "running"
        await well_again(scene)
        await eventually(lambda: rows(tmp_path)["runs"][0] == "completed", what="the END that waited is written")
    in_order(tmp_path)


async def test_a_disk_that_is_slow(tmp_path: Path) -> None:
    """S9: while a sync takes seconds a stream goes on, new work waits for its START and is served."""
    async with a_scene(tmp_path) as scene:
        async with injected(scene.program.pid, "fdatasync:delay_enter=2000000"):
            new = asyncio.ensure_future(called(scene.program, "after"))  # noqa: TID251 a task of a test
            await scene.up.conn(1)
            scene.release.set()
            await scene.client.until(b"data: [DONE]")
            assert not new.done()
            pending = re.search(rb"quell_ledger_pending (\d+)", (await probed(scene.program, "/metrics")).body)
            assert pending is not None
            assert (await new).body == b"".join(EVENTS)
        await well_again(scene)
    in_order(tmp_path)


async def test_a_lock_of_another_program(tmp_path: Path) -> None:
    """S1: while it is held new work is refused in time and a stream goes on to its end; behind it all is written."""
    async with a_scene(tmp_path) as scene:
        with closing(sqlite3.connect(tmp_path / "quell.db", isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            assert (await refused(scene)).header("Retry-After") is not None
            scene.release.set()
            assert (await scene.client.answer()).body == b"".join(EVENTS)
            metrics = (await probed(scene.program, "/metrics")).body.decode()
            assert re.search(r"quell_ledger_pending [1-9]", metrics)
            other.execute("ROLLBACK")
        await well_again(scene)
        await eventually(lambda: rows(tmp_path)["runs"][0] == "completed", what="what waited is written")
    in_order(tmp_path)
