import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.client import RawClient
from support.leaks import back_to_start, open_files
from support.scripts import hang
from support.upstream import scripted_upstream


async def test_what_was_closed_is_no_leak() -> None:
    """A server, its connections and its tasks that are gone at the end are fine."""
    async with back_to_start(), scripted_upstream(hang()) as up, RawClient(up.port) as client:
        await client.post("/")
        await up.conn()


async def test_an_open_socket_is_a_leak() -> None:
    """A connection left open is named."""
    left: list[RawClient] = []

    async def leave_one() -> None:
        async with back_to_start(seconds=0.1):
            left.append(await RawClient(up.port).connect())

    async with scripted_upstream(hang()) as up:
        with pytest.raises(AssertionError, match=r"back to where it was.*still open: {'socket': 2}"):
            await leave_one()
        left[0].fin()


async def test_an_open_file_is_a_leak(tmp_path: Path) -> None:
    """A file left open is named by its path."""
    path = tmp_path / "left.txt"
    descriptors: list[int] = []

    async def leave_one() -> None:
        async with back_to_start(seconds=0.1):
            descriptors.append(os.open(path, os.O_CREAT))

    with pytest.raises(AssertionError, match=r"/left\.txt"):
        await leave_one()
    os.close(descriptors[0])


async def test_a_running_task_is_a_leak() -> None:
    """A task left running is named."""
    started: list[asyncio.Task[None]] = []

    async def leave_one() -> None:
        async with back_to_start(seconds=0.1):
            started.append(asyncio.get_running_loop().create_task(asyncio.Event().wait(), name="left over"))  # type: ignore[arg-type]  # its result does not matter

    with pytest.raises(AssertionError, match="left over"):
        await leave_one()
    started[0].cancel()
    await asyncio.gather(*started, return_exceptions=True)


def test_another_process_is_looked_at() -> None:
    """The files of another process are seen by its id."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert open_files(other.pid)["pipe"] >= 2
        other.communicate(b"\n")
