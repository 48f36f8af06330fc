"""A server that runs out of open files, in a process of its own."""

import asyncio
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from proxy.edge.server import RESERVED_FILES, affordable_connections
from support.client import RawClient
from support.wait import eventually

ROOT = Path(__file__).parents[2]

PROGRAM = """
import asyncio, resource, sys
import uvloop
from aiohttp import web
from proxy.core.settings.settings import LimitsSettings
from proxy.edge.server import make_runner

resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))

async def main():
    async def handler(request):
        return web.Response(text="served")
    runner = make_runner(handler, LimitsSettings(), max_connections=10_000)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()

factory = uvloop.new_event_loop if sys.argv[1] == "uvloop" else asyncio.new_event_loop
with asyncio.Runner(loop_factory=factory) as runner:
    runner.run(main())
"""


@pytest.fixture(params=["uvloop", "asyncio"])
def child(request: pytest.FixtureRequest) -> Iterator[tuple[int, int]]:
    """A server that may open 64 files and does not know it: its process id and port."""
    command = [sys.executable, "-c", PROGRAM, request.param]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=ROOT) as process:
        assert process.stdout is not None
        try:
            yield process.pid, int(process.stdout.readline())
        finally:
            process.kill()


def cpu_seconds(pid: int) -> float:
    """The CPU time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def open_files(pid: int) -> int:
    """How many files a process has open."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


async def test_running_out_of_files_neither_spins_nor_lasts(child: tuple[int, int]) -> None:
    """With every file in use, accepting rests instead of spinning, and goes on when files are free again (P7)."""
    pid, port = child
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(RawClient(port)) for _ in range(100)]
        await eventually(lambda: open_files(pid) == 64, what="every file is in use")
        before = cpu_seconds(pid)
        await asyncio.sleep(0.5)
        assert cpu_seconds(pid) - before < 0.4
        for client in clients:
            client.reset()
    async with RawClient(port) as client:
        await client.get("/")
        assert (await client.answer()).status == 200


def test_by_default_files_are_kept_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """The default cap leaves room for a call upstream on each connection, and for the ledger."""
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 4096))
    assert affordable_connections() == (1024 - RESERVED_FILES) // 2
    monkeypatch.setattr(resource, "getrlimit", lambda _: (32, 32))
    assert affordable_connections() == 16
