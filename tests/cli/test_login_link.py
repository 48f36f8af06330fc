"""The link in the banner that lets into the page once: shown at a terminal, and nowhere else."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from proxy.cli.banner import ONCE
from support.admin import call, cookie_of
from support.program import START_PATIENCE, config_text, environment, running_program
from support.redis_server import redis_server
from support.wait import eventually
from support.workers import workers_text

LINK = re.compile(r"http://127\.0\.0\.1:(\d+)(/ui\?once=[A-Za-z0-9_-]+)")


def started(folder: Path, arguments: tuple[str, ...], stderr: int) -> subprocess.Popen[bytes]:
    """The program, writing its standard error there."""
    return subprocess.Popen(
        [sys.executable, "-m", "proxy", *arguments],
        cwd=folder,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=stderr,
    )


@asynccontextmanager
async def at_a_terminal(folder: Path, *arguments: str) -> AsyncIterator[bytearray]:
    """The program with a terminal as its standard error; gives what it has written there so far."""
    ours, theirs = os.openpty()
    os.set_blocking(ours, False)
    process = started(folder, arguments, theirs)
    os.close(theirs)
    seen = bytearray()

    def stop_it_is_there() -> bool:
        with suppress(BlockingIOError):
            seen.extend(os.read(ours, 65536))
        return b"stop it" in seen

    try:
        await eventually(stop_it_is_there, START_PATIENCE, "the banner is there")
        yield seen
        process.send_signal(signal.SIGTERM)
        await eventually(lambda: process.poll() is not None, what="the program has ended")
    finally:
        process.kill()
        process.wait()
        os.close(ours)


async def test_at_a_terminal_the_link_lets_in_once(tmp_path: Path) -> None:
    """Whoever started the proxy by hand opens the link and is in; the second time it is only the page."""
    (tmp_path / "quell.yaml").write_text(config_text("http://127.0.0.1:9/v1"))
    async with at_a_terminal(tmp_path, "serve", "--config", "quell.yaml") as seen:
        text = seen.decode()
        assert ONCE in text
        ((port, path),) = LINK.findall(text)
        answer = await call(int(port), "GET", path)
        assert (answer.status, answer.header("Location")) == (303, "/ui")
        me = await call(int(port), "GET", "/api/me", headers=cookie_of(answer))
        assert (me.json()["name"], me.json()["role"]) == ("admin", "admin")
        again = await call(int(port), "GET", path)
        assert again.header("Location") == "/ui?login=once_used"


async def test_no_link_comes_to_a_file(tmp_path: Path) -> None:
    """Where the output goes to a file or a service's log, only the page's address is printed."""
    async with running_program(config_text("http://127.0.0.1:9/v1"), tmp_path) as program:
        await eventually(lambda: "stop it:" in program.log(), what="the whole banner was printed")
        assert f"  operator  {program.admin_url}/ui\n" in program.log()
        assert "once" not in program.log()


@pytest.mark.parametrize("arguments", [("demo",), ("run",)])
async def test_the_other_ways_to_start_show_it_too(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """`quell demo` and `quell run` are what people begin with."""
    ports = ("--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0")
    async with at_a_terminal(tmp_path, *arguments, *ports) as seen:
        assert len(LINK.findall(seen.decode())) == 1


async def test_each_worker_has_a_link_of_its_own(tmp_path: Path) -> None:
    """A session is known to one worker only, so the banner has a link for each; one's code is nothing to the other."""
    async with redis_server(tmp_path) as redis:
        (tmp_path / "quell.yaml").write_text(workers_text("http://127.0.0.1:9/v1", redis.url))
        async with at_a_terminal(tmp_path, "serve", "--config", "quell.yaml") as seen:
            (one, code), (other, others_code) = LINK.findall(seen.decode())
            wrong = await call(int(other), "GET", code)
            assert wrong.header("Location") == "/ui?login=once_used"
            cookies = [
                cookie_of(await call(int(port), "GET", path)) for port, path in ((one, code), (other, others_code))
            ]
            for port, mine, theirs in ((one, *cookies), (other, *reversed(cookies))):
                assert (await call(int(port), "GET", "/api/me", headers=mine)).json()["name"] == "admin"
                assert (await call(int(port), "GET", "/api/me", headers=theirs)).status == 401
