"""Starting without a config file: addresses as options, ports that are taken, and what a refusal says to do."""

import re
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from proxy.cli.banner import OTHERS_CAN_REACH
from proxy.cli.by_hand import by_hand
from proxy.cli.demo_settings import DEMO, demo_place, demo_settings
from proxy.cli.running import start_demo
from proxy.config_file.cross_checks import NO_KEYS
from proxy.core.settings.settings import Address
from proxy.edge.admin.token import SUFFIX
from support.admin import call
from support.chat import DONE
from support.client import RawClient
from support.config_files import SMALLEST
from support.program import Program, environment
from support.quell import quell
from support.stops import CHAT

ANYWHERE = ("--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0")


@contextmanager
def taken() -> Iterator[int]:
    """A port that something listens on."""
    with socket.create_server(("127.0.0.1", 0)) as held:
        yield held.getsockname()[1]


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


async def test_the_demo_runs_where_it_is_told_to(tmp_path: Path) -> None:
    """On other addresses the demo starts, says where everything is and what is spoken there, and answers."""
    async with demo(tmp_path, *ANYWHERE) as program, RawClient(program.port) as client:
        await client.post(CHAT, {"model": "demo@tokens=3", "stream": True, "messages": []})
        answer = await client.answer()
    assert re.search(r"demo upstream http://127\.0\.0\.1:[1-9]\d*/v1", program.log())
    spoken = re.findall(r"http://127\.0\.0\.1:\d+(/\S+)   (\w.*?)(?:   .*)?$", program.log(), re.MULTILINE)
    assert spoken == [
        ("/v1", "assistants, openai with responses: emulate"),
        ("/dify/v1", "dify"),
        ("/async/v1", "async_messages"),
        ("/aitronos/v1", "aitronos"),
        ("/v1beta", "openai with format: gemini"),
    ]
    assert answer.events[-1] == DONE


async def test_the_demo_upstream_takes_another_port_when_its_own_is_taken() -> None:
    """A port that is taken is no reason to have no demo upstream: it listens at a free one."""
    with taken() as port:
        upstream = await start_demo(Address("127.0.0.1", port))
        assert upstream is not None
        await upstream.stop()
    assert upstream.address.port not in {0, port}


@pytest.mark.parametrize(("port", "place"), [(9484, DEMO), (DEMO.port, Address("127.0.0.1", 0))])
def test_the_demo_upstream_makes_way(port: int, place: Address) -> None:
    """Whoever wants the proxy where the demo upstream usually is gets it there."""
    settings = demo_settings({})
    assert demo_place(by_hand(settings, Address("127.0.0.1", port), settings.admin.listen)) == place
    assert demo_place(by_hand(settings, settings.listen, Address("127.0.0.1", port))) == place


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


async def test_where_others_come_in_the_token_that_was_made_keeps_them_out(tmp_path: Path) -> None:
    """By hand an address of every interface is taken, with a warning, as the token beside the ledger guards it."""
    everywhere = ("--listen", "0.0.0.0:0", "--admin-listen", "0.0.0.0:0")
    async with demo(tmp_path, *everywhere) as program:
        token = (tmp_path / f"quell.db{SUFFIX}").read_text().strip()
        assert (await call(program.admin_port, "GET", "/api/me", headers=[])).status == 401
        assert (
            await call(program.admin_port, "GET", "/api/me", headers=[("Authorization", f"Bearer {token}")])
        ).status == 200
    assert OTHERS_CAN_REACH in program.log()
    assert f"warning: --listen: {NO_KEYS}" in program.log()


def test_a_file_must_name_the_token(tmp_path: Path) -> None:
    """A start by a file on such an address is refused, at the line that has it."""
    (tmp_path / "quell.yaml").write_text(f"{SMALLEST}admin: {{listen: '0.0.0.0:0'}}\n")
    done = quell("serve", "--config", "quell.yaml", folder=tmp_path)
    assert done.returncode == 1
    assert "needs a token_file (or token)" in done.stderr


async def test_a_second_one_in_the_same_folder_says_what_can_be_done(tmp_path: Path) -> None:
    """A start in a folder whose ledger is in use speaks of another folder, since there is no file to change."""
    async with demo(tmp_path, *ANYWHERE):
        done = quell("run", *ANYWHERE, folder=tmp_path)
    assert done.returncode == 1
    assert "another folder will do too" in done.stderr
