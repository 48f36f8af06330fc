"""What a service manager hears from the program: when it serves, reloads and ends, and nothing from its workers."""

import re
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from proxy.cli.service_manager import LAST_SECONDS, VARIABLE, tell_serving
from support.program import config_text, running_program
from support.redis_server import redis_server
from support.wait import eventually
from support.workers import workers_text

DRAIN = {"ready_delay": "0s", "timeout": "2s"}
NOWHERE = "http://127.0.0.1:9"


class Manager:
    """A service manager's socket, and what was said to it."""

    def __init__(self, address: str) -> None:
        self.heard: list[list[str]] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.bind(address)

    def close(self) -> None:
        """Hear no more."""
        self._socket.close()

    async def hears(self, count: int) -> list[list[str]]:
        """Everything heard, once it is so much."""
        await eventually(lambda: self._listen() >= count, what=f"{count} messages; heard: {self.heard}")
        return self.heard

    def _listen(self) -> int:
        try:
            while True:
                self.heard.append(self._socket.recv(4096).decode().split("\n"))
        except BlockingIOError:
            return len(self.heard)


@contextmanager
def manager(address: str) -> Iterator[Manager]:
    """A service manager that listens there."""
    made = Manager(address)
    try:
        yield made
    finally:
        made.close()


async def test_the_manager_hears_of_start_reload_and_end(tmp_path: Path) -> None:
    """It is told when the program serves, of a reload and its end, taken or not, and how long the drain may take."""
    with manager(str(tmp_path / "notify")) as systemd:
        text = config_text(NOWHERE, drain=DRAIN)
        async with running_program(text, tmp_path, env={VARIABLE: str(tmp_path / "notify")}) as program:
            assert await systemd.hears(1) == [["READY=1"]]
            program.signal(signal.SIGHUP)
            reloading, ready = (await systemd.hears(3))[1:]
            assert reloading[0] == "RELOADING=1"
            assert re.fullmatch(r"MONOTONIC_USEC=[1-9][0-9]*", reloading[1])
            assert ready == ["READY=1"]
            (tmp_path / "quell.yaml").write_text("version: 2\n")
            program.signal(signal.SIGHUP)
            assert [each[0] for each in (await systemd.hears(5))[3:]] == ["RELOADING=1", "READY=1"]
            program.signal(signal.SIGTERM)
            assert await program.exit_code() == 0
            longest = round((2 + LAST_SECONDS) * 1e6)
            assert (await systemd.hears(6))[5:] == [["STOPPING=1", f"EXTEND_TIMEOUT_USEC={longest}"]]


async def test_an_abstract_address_is_understood(tmp_path: Path) -> None:
    """A socket that has no file, whose name begins with @, is spoken to as well."""
    name = f"quell-tests-{tmp_path.name}-{id(tmp_path)}"
    with manager(f"\0{name}") as systemd:
        async with running_program(config_text(NOWHERE), tmp_path, env={VARIABLE: f"@{name}"}):
            assert await systemd.hears(1) == [["READY=1"]]


async def test_only_the_parent_of_workers_speaks(tmp_path: Path) -> None:
    """With several workers the manager hears once that all serve, and once of each reload and of the end."""
    with manager(str(tmp_path / "notify")) as systemd:
        async with redis_server(tmp_path) as redis:
            text = workers_text(NOWHERE, redis.url, drain=DRAIN)
            async with running_program(text, tmp_path, env={VARIABLE: str(tmp_path / "notify")}) as program:
                await systemd.hears(1)
                program.signal(signal.SIGHUP)
                await systemd.hears(3)
                await eventually(lambda: program.log().count("settings were reloaded") == 2, what="both reloaded")
                program.signal(signal.SIGTERM)
                assert await program.exit_code() == 0
        first = [each[0] for each in await systemd.hears(4)]
    assert first == ["READY=1", "RELOADING=1", "READY=1", "STOPPING=1"]


def test_a_manager_that_is_gone_hurts_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A socket that nobody listens on is a line in the log, and no error."""
    monkeypatch.setenv(VARIABLE, str(tmp_path / "nobody"))
    with capture_logs() as logs:
        tell_serving()
    assert [(each["event"], each["told"]) for each in logs] == [("service_manager.untold", "READY=1")]
