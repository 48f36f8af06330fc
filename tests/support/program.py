"""Starting the real program in tests, as users do: a process of its own, a config file, signals.

async with running_program(config_text(up.base_url), tmp_path) as program:
    ... program.base_url, program.admin_url, program.port, program.log()
    program.signal(signal.SIGTERM)
    assert await program.exit_code() == 0
"""

import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from support.wait import PATIENCE, eventually

ROOT = Path(__file__).resolve().parents[2]

ADMIN_TOKEN = "token-of-the-tests"

START_PATIENCE = 30.0
"""Seconds for the program to come up, imports on a busy machine included."""

_PROXY_LINE = re.compile(r"^\s*proxy\s+(http://\S+)", re.MULTILINE)
_ADMIN_LINE = re.compile(r"^\s*operator\s+(http://[^/\s]+)", re.MULTILINE)


def config_data(upstream_base_url: str, **overrides: Any) -> dict[str, Any]:
    """A config for tests: one upstream `up`, one openai route `/v1`, free ports, the ledger in the working folder.

    `overrides` are top-level keys of the file, merged section by section; `upstream` and `route` go into the only
    upstream and the only route.
    """
    data: dict[str, Any] = {
        "version": 1,
        "listen": "127.0.0.1:0",
        "admin": {"listen": "127.0.0.1:0", "token": ADMIN_TOKEN},
        "upstreams": {"up": {"base_url": upstream_base_url} | overrides.pop("upstream", {})},
        "routes": [{"path": "/v1", "dialect": "openai", "upstream": "up"} | overrides.pop("route", {})],
        "ledger": {"url": "sqlite:///quell.db"},
        "drain": {"ready_delay": "0s", "timeout": "2s"},
    }
    return merged(data, overrides)


def config_text(upstream_base_url: str, **overrides: Any) -> str:
    """The config of `config_data` as a file's text."""
    return yaml.safe_dump(config_data(upstream_base_url, **overrides), sort_keys=False)


def merged(data: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`data` with `changes` in it; sections are merged, everything else is replaced."""
    result = dict(data)
    for key, value in changes.items():
        old = result.get(key)
        result[key] = merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return result


class Program:
    """A running program. Its output is in `log()`, its working folder is `folder`."""

    def __init__(self, arguments: Sequence[str], folder: Path, environment: Mapping[str, str]) -> None:
        self.folder = folder
        self._log = folder / "program.log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    @property
    def pid(self) -> int:
        """The process id."""
        return self.process.pid

    @property
    def base_url(self) -> str:
        """The proxy's address as it printed it, with the first route's path."""
        return self._printed(_PROXY_LINE)

    @property
    def port(self) -> int:
        """The port of the proxy."""
        return urlsplit(self.base_url).port or 0

    @property
    def admin_url(self) -> str:
        """The admin listener's address, without a path."""
        return self._printed(_ADMIN_LINE)

    @property
    def admin_port(self) -> int:
        """The port of the admin listener."""
        return urlsplit(self.admin_url).port or 0

    @property
    def running(self) -> bool:
        """True until the process has ended."""
        return self.process.poll() is None

    def log(self) -> str:
        """What it wrote to stdout and stderr so far."""
        return self._log.read_text(errors="replace")

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL: no chance to clean up; returns when the process is gone."""
        self.process.kill()
        self.process.wait()

    async def ready(self) -> None:
        """Wait until it has said where it listens.

        Raises:
            AssertionError: it ended, or did not say so in time; with its output.
        """
        await eventually(
            lambda: not self.running or (_PROXY_LINE.search(self.log()) and _ADMIN_LINE.search(self.log())),
            START_PATIENCE,
            "the program is ready",
        )
        assert self.running, f"the program ended with {self.process.returncode}:\n{self.log()}"

    async def exit_code(
        self,
        timeout: float = PATIENCE,  # noqa: ASYNC109 - a failed wait must say what it waited for
    ) -> int:
        """Wait for the end of the process; gives its exit code, negative for a signal.

        Raises:
            AssertionError: it still runs after `timeout` seconds; with its output.
        """
        await eventually(lambda: not self.running, timeout, f"the program ends; its output: {self.log()}")
        return self.process.returncode or 0

    def _printed(self, line: re.Pattern[str]) -> str:
        found = line.search(self.log())
        assert found, f"the program printed no line like {line.pattern}:\n{self.log()}"
        return found[1]


def listening(log: str) -> int | None:
    """The proxy's port, once the program's output says that it listens."""
    found = _PROXY_LINE.search(log) and _ADMIN_LINE.search(log) and _PROXY_LINE.search(log)
    return (urlsplit(found[1]).port or None) if found else None


def environment(**more: str) -> dict[str, str]:
    """This process' environment without what would change the program's ways; `more` is added."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("QUELL_", "OPENAI_"))}
    return kept | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"} | more


@asynccontextmanager
async def running_program(
    config: str,
    folder: Path,
    *,
    arguments: Sequence[str] = ("-m", "proxy", "serve", "--config"),
    env: Mapping[str, str] | None = None,
) -> AsyncIterator[Program]:
    """Write `config` to `folder`, start the program with it, wait until it is ready; end it at the end.

    `arguments` are what comes before the file's name on the Python interpreter's command line.

    Raises:
        AssertionError: it did not come up, or did not end after SIGTERM (it is killed then).
    """
    file = folder / "quell.yaml"
    file.write_text(config)
    program = Program([*arguments, str(file)], folder, environment(**env or {}))
    try:
        await program.ready()
        yield program
        if program.running:
            program.signal(signal.SIGTERM)
            await program.exit_code()
    finally:
        program.kill()
