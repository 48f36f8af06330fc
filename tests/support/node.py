"""Node programs in tests: the official packages, installed as the lock file says, and scripts that drive them."""

import asyncio
import fcntl
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).resolve().parents[1] / "node"
INSTALL_SECONDS = 300.0
RUN_SECONDS = 60.0


def node() -> str:
    """Where Node is; what a script imports is installed.

    Skips the test when Node or the packages can't be had, and says why.
    """
    found, npm = shutil.which("node"), shutil.which("npm")
    if found is None or npm is None:
        pytest.skip("node and npm are not installed (Debian: apt-get install nodejs npm)")
    lock = FOLDER / "package-lock.json"
    installed = FOLDER / "node_modules" / ".package-lock.json"
    with lock.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)  # tests run in several processes: one of them installs
        if not installed.exists() or installed.stat().st_mtime < lock.stat().st_mtime:
            _install(npm)
            installed.touch()
    return found


def _install(npm: str) -> None:
    command = [npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
    done = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False)
    if done.returncode:
        pytest.skip(f"npm could not install tests/node/package-lock.json: {done.stderr[-500:]}")


async def run_script(name: str, *arguments: str) -> Any:
    """Run a script of the folder; gives the JSON that it printed.

    Raises:
        AssertionError: it failed, or took too long; with its output.
    """
    process = await asyncio.create_subprocess_exec(
        node(), name, *arguments, cwd=FOLDER, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(RUN_SECONDS):
            out, err = await process.communicate()
    except TimeoutError:
        process.kill()
        out, err = await process.communicate()
        raise AssertionError(f"{name} took more than {RUN_SECONDS:g} s: {out!r} {err!r}") from None
    assert process.returncode == 0, f"{name} ended with {process.returncode}: {out.decode()}{err.decode()}"
    return json.loads(out)
