"""The systemd unit: read by systemd's own tools, held against the program, and what it forbids tried on it."""

import ctypes
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from proxy.core.settings.settings import Settings
from support.chat import DONE, chat_events
from support.client import RawClient
from support.deploy_files import DEPLOY, LAST_RECORDS, settings_of
from support.program import START_PATIENCE, Program, config_text, environment
from support.scripts import sse_stream
from support.stops import CHAT, STREAM
from support.strace import can_attach
from support.upstream import scripted_upstream
from support.wait import eventually

UNIT = DEPLOY / "systemd" / "quell.service"
CONFIG = DEPLOY / "systemd" / "quell.yaml"
PROGRAM = "/opt/quell/bin/quell"
MOST_EXPOSED = 20
"""Tenths: what `systemd-analyze security` may find at most."""

NO_NEW_CODE = """
import ctypes, os, sys
if ctypes.CDLL(None, use_errno=True).prctl(65, 1, 0, 0, 0):
    sys.exit("the kernel refuses")
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""
"""Runs Python so that no memory is both written and run: prctl(PR_SET_MDWE), as MemoryDenyWriteExecute asks for."""

LOOKED_ON = """
import os, sys
os.execvp("strace", ["strace", "-D", "-f", "--seccomp-bpf", "-qq", "-e", *sys.argv[1:]])
"""
"""Runs a command with strace looking on, as a grandchild: the process stays the command's, and gets its signals."""

OFTEN = frozenset(
    {"read", "write", "openat", "close", "fstat", "newfstatat", "lseek", "mmap", "munmap", "mprotect", "brk", "futex"}
)
"""What every program calls so often that looking at it would take a minute."""

ROOT_ALONE = {"fchown"} if os.geteuid() == 0 else set()
"""What SQLite calls only where root runs it, as some run the tests; the service's user is never root."""

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed (Debian: apt-get install systemd)"
)


def values(key: str) -> list[str]:
    """What the unit says for a key, in order."""
    return re.findall(rf"^{key}=(.*)$", UNIT.read_text(), re.MULTILINE)


def analyze(*arguments: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    """Have systemd look at the unit, with a program that is there in place of the one that would be installed."""
    file = folder / UNIT.name
    file.write_text(UNIT.read_text().replace(PROGRAM, sys.executable))
    command = ["systemd-analyze", *arguments, str(file)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def credentials(folder: Path) -> dict[str, str]:
    """The environment that the unit's credentials make."""
    for each in values("LoadCredential"):
        name, _, source = each.partition(":")
        assert source == f"/etc/quell/credentials/{name}"
        file = folder / name
        file.write_text("a" * 64)
        file.chmod(0o400)
    return {"CREDENTIALS_DIRECTORY": str(folder)}


def config(folder: Path) -> Settings:
    """The settings of the config beside the unit, with the unit's credentials."""
    return settings_of(CONFIG, **credentials(folder))


@needs_systemd
def test_systemd_has_nothing_to_say(tmp_path: Path) -> None:
    """No key is misspelt and no value is unknown: what is wrong is only said, the exit code stays 0."""
    done = analyze("verify", "--man=no", folder=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@needs_systemd
def test_the_service_is_hardly_exposed(tmp_path: Path) -> None:
    """The service may do little beyond what it needs: under 2.0 of 10."""
    done = analyze("security", "--offline=yes", f"--threshold={MOST_EXPOSED}", "--no-pager", folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_it_has_time_for_its_drain(tmp_path: Path) -> None:
    """It is killed only after the drain of the config beside the unit, and the last records."""
    drain = config(tmp_path).drain
    [wait] = values("TimeoutStopSec")
    assert int(wait) >= drain.ready_delay + drain.timeout + LAST_RECORDS


def test_its_config_has_its_credentials_and_its_folder(tmp_path: Path) -> None:
    """Every credential is used, and the ledger is in the one folder that the service may write."""
    settings = config(tmp_path)
    key = settings.upstreams["openai"].api_key
    assert key is not None
    assert key.get_secret_value() == "a" * 64
    assert [each.id for each in settings.keys] == ["apps"]
    named = set(re.findall(r"\}/([a-z0-9-]+)", CONFIG.read_text()))
    assert named == {each.partition(":")[0] for each in values("LoadCredential")}
    [folder] = values("StateDirectory")
    assert settings.ledger.url == f"sqlite:////var/lib/{folder}/quell.db"
    assert values("WorkingDirectory") == [f"/var/lib/{folder}"]


def test_a_wrong_config_is_not_tried_again(tmp_path: Path) -> None:
    """The exit code that the program has for a wrong config is the one after which the unit is left alone."""
    file = tmp_path / "quell.yaml"
    file.write_text("version: 2\n")
    command = [sys.executable, "-m", "proxy", "serve", "--config", str(file)]
    done = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, check=False)
    assert values("RestartPreventExitStatus") == [str(done.returncode)]


async def test_it_runs_without_making_code(tmp_path: Path) -> None:
    """The program starts, streams and ends where no memory may be written and then run, as the unit asks for it."""
    if not hasattr(ctypes.CDLL(None), "prctl") or not _can_forbid():
        pytest.skip("this kernel can't forbid it (Linux 6.3 or newer)")
    assert values("MemoryDenyWriteExecute") == ["yes"]
    async with scripted_upstream(sse_stream(chat_events(3))) as up:
        (tmp_path / "quell.yaml").write_text(config_text(up.base_url))
        arguments = ["-c", NO_NEW_CODE, "-m", "proxy", "serve", "--config", "quell.yaml"]
        program = Program(arguments, tmp_path, environment())
        try:
            await program.ready()
            async with RawClient(program.port) as client:
                await client.post(CHAT, STREAM)
                assert (await client.answer()).events[-1] == DONE
            program.signal(signal.SIGTERM)
            assert await program.exit_code() == 0
        finally:
            program.kill()


def _can_forbid() -> bool:
    """Whether the kernel knows how."""
    tried = subprocess.run([sys.executable, "-c", NO_NEW_CODE, "-c", ""], capture_output=True, check=False)
    return tried.returncode == 0


@needs_systemd
async def test_it_calls_nothing_that_is_filtered(tmp_path: Path) -> None:
    """Whatever the program asks of the kernel from start to end is in the unit's filter of system calls."""
    if not can_attach():
        pytest.skip("there is no strace that may look on")
    calls = tmp_path / "calls"
    async with scripted_upstream(sse_stream(chat_events(3))) as up:
        (tmp_path / "quell.yaml").write_text(config_text(up.base_url))
        serve = [sys.executable, "-m", "proxy", "serve", "--config", "quell.yaml"]
        program = Program(
            ["-c", LOOKED_ON, f"trace=!{','.join(OFTEN)}", "-o", str(calls), *serve], tmp_path, environment()
        )
        try:
            await program.ready()
            async with RawClient(program.port) as client:
                await client.post(CHAT, STREAM)
                assert (await client.answer()).events[-1] == DONE
            program.signal(signal.SIGHUP)
            await eventually(
                lambda: "were reloaded" in program.log(), timeout=START_PATIENCE, what="the reload is done"
            )
            program.signal(signal.SIGTERM)
            assert await program.exit_code(60) == 0
        finally:
            program.kill()
    last = re.compile(rf"^{program.pid} +exit_group\(", re.MULTILINE)  # strace pads short numbers
    await eventually(lambda: last.search(calls.read_text()), what="strace has written all of it")
    called = set(re.findall(r"^\d+ +(\w+)\(", calls.read_text(), re.MULTILINE))
    assert len(called) > 30
    assert (called | OFTEN) - allowed() - ROOT_ALONE == set()


def allowed() -> set[str]:
    """The calls that the unit's filter lets through."""
    groups: dict[str, set[str]] = {}
    listed = subprocess.run(["systemd-analyze", "syscall-filter"], capture_output=True, text=True, check=True)
    for line in listed.stdout.splitlines():
        if line.startswith("@"):
            groups[line.strip()] = members_of_it = set()
        elif line.strip() and not line.strip().startswith("#"):
            members_of_it.add(line.strip())

    def calls(name: str) -> set[str]:
        return {call for each in groups[name] for call in calls(each)} if name.startswith("@") else {name}

    found: set[str] = set()
    for value in values("SystemCallFilter"):
        named = {call for name in value.removeprefix("~").split() for call in calls(name)}
        found = found - named if value.startswith("~") else found | named
    return found
