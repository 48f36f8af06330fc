import os
import signal
from pathlib import Path

import pytest
import yaml

from support.program import ADMIN_TOKEN, Program, config_data, config_text, environment, running_program

PROGRAM = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, {on_term})
print("reading", sys.argv[1], os.path.exists(sys.argv[1]), os.environ.get("QUELL_X"), os.environ.get("GIVEN"))
print("  proxy     http://127.0.0.1:4321/v1   <- set OPENAI_BASE_URL to this", file=sys.stderr)
print("  operator  http://127.0.0.1:4322/ui", file=sys.stderr)
while True:
    time.sleep(60)
"""
POLITE = ("-c", PROGRAM.format(on_term="lambda *_: sys.exit(3)"))


async def test_the_program_is_started_and_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It gets its file, its environment is cleaned, its addresses are read from its output, SIGTERM ends it."""
    monkeypatch.setenv("QUELL_X", "must not be seen")
    async with running_program("version: 1\n", tmp_path, arguments=POLITE, env={"GIVEN": "yes"}) as program:
        assert (program.base_url, program.port) == ("http://127.0.0.1:4321/v1", 4321)
        assert (program.admin_url, program.admin_port) == ("http://127.0.0.1:4322", 4322)
        assert f"{tmp_path / 'quell.yaml'} True None yes" in program.log()
        assert program.running
    assert await program.exit_code() == 3


async def test_the_program_can_be_killed(tmp_path: Path) -> None:
    """SIGKILL ends it at once, and the block then has nothing to end."""
    async with running_program("", tmp_path, arguments=POLITE) as program:
        program.kill()
        assert await program.exit_code() == -signal.SIGKILL
        with pytest.raises(ProcessLookupError):
            os.kill(program.pid, 0)


async def test_a_program_that_does_not_come_up_shows_its_output(tmp_path: Path) -> None:
    """An early end is an error with what was printed."""
    program = Program(["-c", "raise SystemExit('no such port')"], tmp_path, environment())
    with pytest.raises(AssertionError, match="ended with 1:\nno such port"):
        await program.ready()


def test_the_config_is_merged() -> None:
    """Sections are merged, lists replaced, and the only upstream and route can be changed by name."""
    text = config_text(
        "http://127.0.0.1:1/v1",
        upstream={"slots": 1},
        route={"on_disconnect": "finish"},
        limits={"streams": 2},
        drain={"timeout": "9s"},
        keys=[{"id": "a"}],
    )
    data = yaml.safe_load(text)
    assert data["upstreams"] == {"up": {"base_url": "http://127.0.0.1:1/v1", "slots": 1}}
    assert data["routes"] == [{"path": "/v1", "dialect": "openai", "upstream": "up", "on_disconnect": "finish"}]
    assert (data["drain"], data["limits"]) == ({"ready_delay": "0s", "timeout": "9s"}, {"streams": 2})
    assert data["admin"] == {"listen": "127.0.0.1:0", "token": ADMIN_TOKEN}
    assert config_data("x", keys=[])["keys"] == []
