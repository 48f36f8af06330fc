"""A disk that is really full: a small file system in memory, filled up and emptied again."""

import asyncio
import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from proxy.core.lifecycle import Outcome
from proxy.stores.ledger.errors import LedgerOpenError
from proxy.stores.ledger.port import LedgerUnavailableError, RecordFilter
from support.chat import chat_events
from support.client import RawClient
from support.ledgers import a_ledger
from support.program import config_text
from support.proxy import running_proxy
from support.records import a_record
from support.scripts import SSE
from support.stops import CHAT, STREAM
from support.upstream import Conn, scripted_upstream
from support.wait import eventually


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    if os.getuid() != 0:
        pytest.skip("needs root, to mount a small file system")
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], check=False, capture_output=True, text=True
    )
    if mounted.returncode != 0:
        pytest.skip(f"can't mount a small file system here: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def fill(disk: Path) -> Path:
    """Take all the room there is; gives the file to delete."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            return ballast


async def test_a_full_disk_refuses_new_work_and_loses_nothing(small_disk: Path) -> None:
    """STARTs fail in time, the END of what runs waits, and is written when there is room again. Covers S2."""
    async with a_ledger(small_disk / "q.db", start_deadline=0.5) as ledger:
        await ledger.begin(a_record("runs"))
        ballast = fill(small_disk)
        over = replace(a_record("runs"), outcome=Outcome.CANCELLED, ended_at=1001.0, text="x" * 200_000)
        end = ledger.end(over)
        with pytest.raises(LedgerUnavailableError):
            await ledger.begin(a_record("refused"))
        assert not ledger.healthy
        assert not end.done()
        ballast.unlink()
        async with asyncio.timeout(30):
            await end
        await eventually(lambda: ledger.healthy)
        assert await ledger.find("acme", "task-runs") == over
        assert await ledger.find("acme", "task-refused") is None


async def test_a_start_on_a_full_disk_is_refused(small_disk: Path) -> None:
    """Without room for the tables the ledger is not opened, and the error says why; with room it is."""
    ballast = fill(small_disk)
    with pytest.raises(LedgerOpenError, match=r"q\.db: .*(full|No space left)"):
        async with a_ledger(small_disk / "q.db"):
            pass
    ballast.unlink()
    async with a_ledger(small_disk / "q.db") as ledger:
        await ledger.begin(a_record())


async def test_below_the_reserve_no_new_work_is_taken(small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """I8: with less room than the reserve a START is refused at once, an END still written; with room it goes on."""
    monkeypatch.setattr("proxy.stores.ledger.disk_room.LOOK_SECONDS", 0.02)
    async with a_ledger(small_disk / "q.db", reserve=300_000) as ledger:
        await ledger.begin(a_record("runs"))
        assert ledger.healthy
        ballast = small_disk / "ballast"
        with capture_logs() as logs:
            ballast.write_bytes(b"x" * (free(small_disk) - 250_000))
            await eventually(lambda: not ledger.healthy, what="the ledger sees that there is no room")
            with pytest.raises(LedgerUnavailableError, match=r"less room than ledger\.reserve"):
                ledger.begin(a_record("refused"))
            await ledger.end(replace(a_record("runs"), outcome=Outcome.CANCELLED, ended_at=1001.0, text="kept"))
            ballast.unlink()
            await eventually(lambda: ledger.healthy, what="there is room again")
        await ledger.begin(a_record("next"))
        assert [line["event"] for line in logs] == ["ledger.disk_low", "ledger.disk_has_room"]
        assert [record.uid for record in (await ledger.page(RecordFilter(), 10, None)).records] == ["runs", "next"]


def free(disk: Path) -> int:
    """Bytes that can still be written."""
    found = os.statvfs(disk)
    return found.f_bavail * found.f_frsize


async def test_a_proxy_without_room_refuses_and_lets_end(small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """S2, I8: new work gets 503 before the upstream is called and /readyz says no, while a running stream ends."""
    monkeypatch.setattr("proxy.stores.ledger.disk_room.LOOK_SECONDS", 0.02)
    release = asyncio.Event()
    events = chat_events(8)

    async def script(conn: Conn) -> None:
        await conn.head(200, SSE)
        await conn.chunk(b"".join(events[:5]))
        await release.wait()
        await conn.chunk(b"".join(events[5:]))
        await conn.end()

    async with scripted_upstream(script) as up:
        config = config_text(up.base_url, ledger={"url": f"sqlite:///{small_disk}/q.db", "reserve": "300KB"})
        async with running_proxy(config, small_disk.parent) as proxy, RawClient(proxy.port) as client:
            await client.post(CHAT, STREAM)
            await client.until(b"data:", 5)
            ballast = small_disk / "ballast"
            ballast.write_bytes(b"x" * (free(small_disk) - 250_000))
            await eventually(lambda: not proxy.app.engine.ledger.healthy, what="there is no room")
            async with RawClient(proxy.port) as other:
                await other.post(CHAT, STREAM)
                refused = await other.answer()
            async with RawClient(proxy.admin_port) as admin:
                await admin.get("/readyz")
                assert (await admin.answer()).status == 503
            assert (refused.status, refused.json()["error"]["code"]) == (503, "ledger_unavailable")
            assert refused.header("Retry-After") is not None
            assert len(up.requests) == 1
            release.set()
            assert (await client.answer()).body == b"".join(events)
            await proxy.app.engine.settle_all()
            ballast.unlink()
