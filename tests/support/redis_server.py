"""A real Redis (or Valkey) in tests: a server of its own on a free port, which can be restarted, stopped and continued.

async with redis_server(tmp_path) as redis:
    ... redis.url, redis.port, redis.command("FLUSHALL"), redis.pause(), redis.resume(), await redis.restart()
"""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from redis import Redis
from redis.exceptions import RedisError

from support.wait import eventually

PROGRAMS: Final = ("valkey-server", "redis-server")
MISSING: Final = "neither valkey-server nor redis-server is installed (Debian: apt-get install redis-server)"


def server_program() -> str:
    """Where the server is. Without one the test is skipped, and says why; in CI, which installs it, it fails."""
    for name in PROGRAMS:
        if (found := shutil.which(name)) is not None:
            return found
    if os.environ.get("CI"):
        pytest.fail(MISSING)
    pytest.skip(MISSING)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def command_at(port: int, *words: Any) -> Any:
    """Do something at the server on that port, on a connection of its own; gives what it says, unread."""
    with Redis(port=port, socket_timeout=5) as client:
        client.response_callbacks.clear()
        return client.execute_command(*words)


class RedisServer:
    """A running server, which keeps nothing on disk; with a `sentinel` file it is a Sentinel, and writes there."""

    def __init__(
        self, folder: Path, options: tuple[str, ...] = (), port: int = 0, sentinel: Path | None = None
    ) -> None:
        self._folder = folder
        kind = ("--save", "", "--appendonly", "no") if sentinel is None else (str(sentinel), "--sentinel")
        self.port = port or free_port()
        listen = ("--port", str(self.port), "--bind", "127.0.0.1")
        self._command = [server_program(), *kind, *listen, "--dir", str(folder), *options]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Its address, as `bus.url` takes it."""
        return f"redis://127.0.0.1:{self.port}/0"

    def command(self, *words: Any) -> Any:
        """Do something at the server, on a connection of its own; gives what it says."""
        return command_at(self.port, *words)

    def names(self) -> list[bytes]:
        """The names of all keys."""
        found: list[bytes] = self.command("KEYS", "*")
        return sorted(found)

    async def start(self) -> None:
        """Start it, and wait until it answers."""
        with (self._folder / f"redis-{self.port}.log").open("ab") as log:
            self._process = subprocess.Popen(  # noqa: ASYNC220 - it starts at once
                self._command, stdout=log, stderr=subprocess.STDOUT
            )
        await eventually(self._answers, what="the Redis server answers")

    def _answers(self) -> bool:
        try:
            return bool(self.command("PING"))
        except RedisError:
            return False

    def kill(self) -> None:
        """SIGKILL; returns when it is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    async def restart(self) -> None:
        """Kill it and start it again, empty."""
        self.kill()
        await self.start()

    def pause(self) -> None:
        """SIGSTOP: connections stay open, nothing is answered."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)


@asynccontextmanager
async def redis_server(folder: Path, *options: str, port: int = 0) -> AsyncIterator[RedisServer]:
    """Start a server, and kill it at the end. `options` go to its command line; `port` 0 is a free one."""
    server = RedisServer(folder, options, port)
    try:
        await server.start()
        yield server
    finally:
        server.kill()
        await asyncio.sleep(0)


class RedisCluster:
    """Three servers that share the slots."""

    def __init__(self, servers: list[RedisServer]) -> None:
        self.servers = servers

    @property
    def url(self) -> str:
        """Its address, as `bus.url` takes it."""
        return "redis+cluster://" + ",".join(f"127.0.0.1:{server.port}" for server in self.servers)


SLOTS: Final = 16384


@asynccontextmanager
async def redis_cluster(folder: Path, size: int = 3) -> AsyncIterator[RedisCluster]:
    """Start the servers, join them, and wait until every slot is served; kill them at the end."""
    servers: list[RedisServer] = []
    try:
        for index in range(size):
            own = folder / f"node-{index}"
            own.mkdir()
            bus_port = str(free_port())
            servers.append(RedisServer(own, ("--cluster-enabled", "yes", "--cluster-port", bus_port)))
            await servers[-1].start()
            servers[0].command("CLUSTER", "MEET", "127.0.0.1", str(servers[-1].port), bus_port)
            first, last = index * SLOTS // size, (index + 1) * SLOTS // size - 1
            servers[-1].command("CLUSTER", "ADDSLOTSRANGE", str(first), str(last))
        await eventually(
            lambda: (
                all(b"cluster_state:ok" in server.command("CLUSTER", "INFO") for server in servers)
                and all(server.command("CLUSTER", "NODES").count(b" connected ") == size for server in servers)
            ),
            what="the Cluster is whole",
        )
        yield RedisCluster(servers)
    finally:
        for server in servers:
            server.kill()
