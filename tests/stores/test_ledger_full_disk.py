"""A disk that is really full: a small file system in memory, filled up and emptied again."""

import asyncio
import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from proxy.core.lifecycle import Outcome
from proxy.stores.ledger_sqlite import LedgerOpenError
from proxy.stores.ports import LedgerUnavailableError
from support.ledgers import a_ledger
from support.records import a_record
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
