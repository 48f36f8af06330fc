"""The example's HAProxy in tests, with its very file, in front of replicas on ports of this machine.

async with haproxy_in_front([(8484, 8485), (8584, 8585)], tmp_path) as port:
    ... the balancer listens on `port`; it asks each replica's admin port for its readiness
"""

import asyncio
import contextlib
import os
import random
import shutil
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from support.deploy_files import DEPLOY
from support.wait import eventually

MISSING = "haproxy is not installed (Debian: apt-get install haproxy)"


def haproxy_program() -> str:
    """Where HAProxy is. Without it the test is skipped, and says why; in CI, which installs it, it fails."""
    if (found := shutil.which("haproxy", path=f"{os.environ.get('PATH', '')}:/usr/sbin")) is not None:
        return found
    if os.environ.get("CI"):
        pytest.fail(MISSING)
    pytest.skip(MISSING)


def quiet_port() -> int:
    """A port that nobody listens on, and that no connection of anybody gets by itself: it stays free for a restart."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def haproxy_config(replicas: Sequence[tuple[int, int]], port: int) -> str:
    """The example's file with other addresses: those of two replicas, as (port, admin port), and its own."""
    text = (DEPLOY / "haproxy" / "haproxy.cfg").read_text()
    changes = {"bind :8484": f"bind 127.0.0.1:{port}", "check port 8485": "check"}
    for name, (own, admin) in zip("ab", replicas, strict=True):
        changes[f"server {name} quell-{name}:8484"] = f"server {name} 127.0.0.1:{own} port {admin}"
    for old, new in changes.items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


@asynccontextmanager
async def haproxy_in_front(replicas: Sequence[tuple[int, int]], folder: Path) -> AsyncIterator[int]:
    """Run HAProxy, and give its port; it has found at least one replica ready by then."""
    port = quiet_port()
    file = folder / "haproxy.cfg"
    file.write_text(haproxy_config(replicas, port))
    with (folder / "haproxy.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            haproxy_program(), "-db", "-f", str(file), stdout=log, stderr=log
        )
    try:
        await eventually(lambda: _answers(port), what=f"HAProxy listens; {folder}/haproxy.log says why not")
        yield port
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def _answers(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0
