"""Starting without a config file: addresses as options, ports that are taken, and what a refusal says to do."""

import contextlib
import re
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from support.chat import DONE
from support.client import RawClient
from support.program import Program, environment
from support.quell import quell
from support.stops import CHAT

ANYWHERE = ("--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0")


@contextmanager
def taken(port: int = 0) -> Iterator[int]:
    """A port that something listens on."""
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):  # something else has it already: then it is taken all the same
            held.bind(("127.0.0.1", port))
            held.listen()
        yield port or held.getsockname()[1]


@asynccontextmanager
async def demo(folder: Path, *options: str) -> AsyncIterator[Program]:
    """`quell demo`, running."""
    program = Program(["-m", "proxy", "demo", *options], folder, environment())
    try:
        await program.ready()
        yield program
        program.signal(signal.SIGINT)
        assert await program.exit_code() == 0
    finally:
        program.kill()


async def test_the_demo_runs_while_its_usual_ports_are_taken(tmp_path: Path) -> None:
    """With other addresses and the demo upstream's port taken it starts, says where everything is, and answers."""
    with taken(8486):
        async with demo(tmp_path, *ANYWHERE) as program, RawClient(program.port) as client:
            await client.post(CHAT, {"model": "demo@tokens=3", "stream": True, "messages": []})
            answer = await client.answer()
    upstream = re.search(r"demo upstream http://127\.0\.0\.1:(\d+)/v1", program.log())
    assert upstream is not None
    assert upstream[1] not in {"0", "8486"}
    assert answer.events[-1] == DONE


def test_a_taken_port_names_the_option_that_moves_it(tmp_path: Path) -> None:
    """A port that is taken ends the start with one line, which names the option to give instead of a file's key."""
    with taken() as port:
        for option in ("--listen", "--admin-listen"):
            done = quell("run", *ANYWHERE, option, f"127.0.0.1:{port}", folder=tmp_path)
            assert done.returncode == 1
            (line,) = done.stderr.splitlines()
            assert f"127.0.0.1:{port} (address already in use)" in line
            assert f"Stop what uses it, or set another address: {option} HOST:PORT" in line


def test_an_address_of_nobody_is_not_one_that_somebody_uses(tmp_path: Path) -> None:
    """An address that this machine does not have is not answered with the advice to stop what uses it."""
    done = quell("run", *ANYWHERE, "--listen", "192.0.2.1:8484", folder=tmp_path)
    assert done.returncode == 1
    assert "can't listen on 192.0.2.1:8484" in done.stderr
    assert "Stop what uses it" not in done.stderr


def test_what_is_no_address_is_refused(tmp_path: Path) -> None:
    """An option that is no HOST:PORT, and two listeners on one address, are refused as what was typed wrong: exit 2."""
    assert "expected HOST:PORT" in quell("demo", "--listen", "8484", folder=tmp_path).stderr
    both = quell("demo", "--listen", "127.0.0.1:99", "--admin-listen", "127.0.0.1:99", folder=tmp_path)
    assert both.returncode == 2
    assert "each needs its own address" in both.stderr


async def test_a_second_one_in_the_same_folder_says_what_can_be_done(tmp_path: Path) -> None:
    """A start in a folder whose ledger is in use speaks of another folder, since there is no file to change."""
    async with demo(tmp_path, *ANYWHERE):
        done = quell("run", *ANYWHERE, folder=tmp_path)
    assert done.returncode == 1
    assert "another folder will do too" in done.stderr
