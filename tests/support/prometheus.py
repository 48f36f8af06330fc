"""A real Prometheus in tests, with the very rules and scrape config that are shipped, and its tool for the files.

async with running_prometheus(program.admin_port, tmp_path) as prometheus:
    ... await prometheus.query('up{job="quell"}')
"""

import asyncio
import contextlib
import math
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from support.deploy_files import DEPLOY
from support.redis_server import free_port
from support.wait import eventually

MISSING = "prometheus is not installed (Debian: apt-get install prometheus)"
FOLDER = DEPLOY / "prometheus"
EVERY = "250ms"
"""How often the Prometheus of the tests scrapes and looks at its rules."""


def program(name: str) -> str:
    """Where `prometheus` or `promtool` is. Without it the test is skipped, and says why; in CI it fails."""
    if (found := shutil.which(name)) is not None:
        return found
    if os.environ.get("CI"):
        pytest.fail(MISSING)
    pytest.skip(MISSING)


def promtool(*arguments: str, given: bytes = b"", folder: Path = FOLDER) -> str:
    """Run promtool, and give what it said if it found something wrong, be it only a matter of style."""
    command = [program("promtool"), *arguments]
    done = subprocess.run(command, cwd=folder, input=given, capture_output=True, check=False)
    return (done.stdout + done.stderr).decode() if done.returncode or b"WARNING" in done.stdout else ""


class Prometheus:
    """A running server."""

    def __init__(self, port: int, session: aiohttp.ClientSession) -> None:
        self._api = f"http://127.0.0.1:{port}"
        self._session = session

    async def is_ready(self) -> bool:
        """Whether it serves."""
        with contextlib.suppress(aiohttp.ClientError):
            async with self._session.get(f"{self._api}/-/ready") as answer:
                return answer.status == 200
        return False

    async def query(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """The series that an expression gives now, with their values, but those whose value is no number.

        Raises:
            AssertionError: it is no expression.
        """
        async with self._session.post(f"{self._api}/api/v1/query", data={"query": expression}) as answer:
            said = await answer.json()
        assert said["status"] == "success", f"{expression}: {said}"
        found = [(each["metric"], float(each["value"][1])) for each in said["data"]["result"]]
        return [(labels, value) for labels, value in found if not math.isnan(value)]

    async def rules(self) -> list[dict[str, Any]]:
        """The alert rules as they stand."""
        async with self._session.get(f"{self._api}/api/v1/rules") as answer:
            groups = (await answer.json())["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]


def scrape_config(admin_port: int) -> dict[str, Any]:
    """The config that is shipped, for a proxy on this machine, and in a hurry."""
    config: dict[str, Any] = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": EVERY, "scrape_timeout": EVERY, "evaluation_interval": EVERY}
    config["rule_files"] = [str(FOLDER / each) for each in config["rule_files"]]
    (job,) = config["scrape_configs"]
    del job["dns_sd_configs"]
    job["static_configs"] = [{"targets": [f"127.0.0.1:{admin_port}"]}]
    return config


@asynccontextmanager
async def running_prometheus(admin_port: int, folder: Path) -> AsyncIterator[Prometheus]:
    """Run Prometheus on a free port, scraping the proxy with that admin port."""
    found, port, file = program("prometheus"), free_port(), folder / "prometheus.yml"
    file.write_text(yaml.safe_dump(scrape_config(admin_port)))
    address = f"--web.listen-address=127.0.0.1:{port}"
    with (folder / "prometheus.log").open("wb") as log:
        command = [found, f"--config.file={file}", f"--storage.tsdb.path={folder / 'tsdb'}", address]
        process = await asyncio.create_subprocess_exec(*command, stdout=log, stderr=log)
    try:
        async with aiohttp.ClientSession() as session:
            server = Prometheus(port, session)
            await eventually(server.is_ready, 30, f"Prometheus is ready; {folder}/prometheus.log says why not")
            yield server
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
