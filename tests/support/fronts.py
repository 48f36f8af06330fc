"""The fronts in tests: nginx, HAProxy, Caddy and Envoy with the very files of `deploy/`, on ports of this machine.

async with in_front("caddy", port, admin_port, tmp_path) as front:
    ... it listens on `front`, and leads to the proxy on `port`, which is asked for its readiness on `admin_port`
"""

import asyncio
import contextlib
import os
import platform
import shutil
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Final

import pytest

from support.balancer import haproxy_config, quiet_port
from support.deploy_files import DEPLOY
from support.program import environment
from support.wait import eventually

BESIDES_PATH: Final = ("/usr/sbin", str(Path(sys.executable).parent))
"""Where programs are that are not on everybody's path: those of administrators, and those that pip installs."""


@dataclass(frozen=True, slots=True)
class Front:
    """One of them: its file below `deploy/`, how it is checked, and how it runs in the foreground."""

    file: str
    changes: Callable[[str, int, int, int], str]
    """The file's text with other ports: the proxy's, its admin listener's, and the front's own."""
    check: tuple[str, ...]
    run: tuple[str, ...]
    """Both with {file} and {folder}."""
    package: str
    is_installed_by_ci: bool = True
    environment: Mapping[str, str] = field(default_factory=dict)


def replaced(text: str, changes: Mapping[str, str]) -> str:
    """A text with changes in it, each of which must be possible once."""
    for old, new in changes.items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


def _nginx(text: str, port: int, _admin: int, own: int) -> str:
    return whole_nginx(
        replaced(text, {"server 127.0.0.1:8484": f"server 127.0.0.1:{port}", "listen 8080": f"listen 127.0.0.1:{own}"})
    )


def whole_nginx(server: str) -> str:
    """The whole config of an nginx that has this server and needs nothing outside its folder."""
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    paths = " ".join(f"{kind}_temp_path temp_{kind};" for kind in kinds)
    main = "daemon off; master_process off; pid nginx.pid; events {}"
    return f"{main}\nhttp {{ access_log off; {paths}\n{server}\n}}\n"


def _haproxy(_text: str, port: int, admin: int, own: int) -> str:
    return haproxy_config([(port, admin), (port, admin)], own)


def _caddy(text: str, port: int, _admin: int, own: int) -> str:
    changed = replaced(
        text, {":8080 {": f":{own} {{", "reverse_proxy 127.0.0.1:8484": f"reverse_proxy 127.0.0.1:{port}"}
    )
    return "{\n\tadmin off\n\tdefault_bind 127.0.0.1\n}\n" + changed


def _envoy(text: str, port: int, admin: int, own: int) -> str:
    changes = {
        "address: 0.0.0.0, port_value: 8080": f"address: 127.0.0.1, port_value: {own}",
        "port_value: 8484": f"port_value: {port}",
        "port_value: 8485": f"port_value: {admin}",
    }
    return replaced(text, changes)


FRONTS: Final[Mapping[str, Front]] = {
    "nginx": Front(
        "nginx/quell.conf",
        _nginx,
        ("nginx", "-e", "{folder}/error.log", "-p", "{folder}", "-t", "-q", "-c", "{file}"),
        ("nginx", "-e", "{folder}/error.log", "-p", "{folder}", "-c", "{file}"),
        "nginx",
    ),
    "haproxy": Front(
        "haproxy/haproxy.cfg",
        _haproxy,
        ("haproxy", "-c", "-q", "-f", "{file}"),
        ("haproxy", "-db", "-f", "{file}"),
        "haproxy",
    ),
    "caddy": Front(
        "caddy/Caddyfile",
        _caddy,
        ("caddy", "validate", "--adapter", "caddyfile", "--config", "{file}"),
        ("caddy", "run", "--adapter", "caddyfile", "--config", "{file}"),
        "caddy",
        environment={"XDG_DATA_HOME": "{folder}", "XDG_CONFIG_HOME": "{folder}"},
    ),
    "envoy": Front(
        "envoy/envoy.yaml",
        _envoy,
        ("envoy", "--mode", "validate", "--log-level", "warning", "-c", "{file}"),
        ("envoy", "--disable-hot-restart", "--concurrency", "1", "--log-level", "warning", "-c", "{file}"),
        "Envoy",
        is_installed_by_ci=(sys.platform, platform.machine()) == ("linux", "x86_64"),  # the package has no other
    ),
}


def installed(name: str) -> str:
    """Where a front's program is. Without it the test is skipped, and says why; in CI, where it belongs, it fails."""
    path = os.pathsep.join([os.environ.get("PATH", ""), *BESIDES_PATH])
    if (found := shutil.which(name, path=path)) is not None:
        return found
    missing = f"{FRONTS[name].package} is not installed"
    if os.environ.get("CI") and FRONTS[name].is_installed_by_ci:
        pytest.fail(missing)
    pytest.skip(missing)


def shipped(name: str) -> str:
    """The text of a front's file."""
    return (DEPLOY / FRONTS[name].file).read_text()


def checked(name: str, text: str, folder: Path) -> str:
    """What a front says about a config when it is asked to look at it alone; it must take it."""
    file = folder / Path(FRONTS[name].file).name
    file.write_text(text)
    command = _command(name, FRONTS[name].check, file, folder)
    done = subprocess.run(command, env=_environment(name, folder), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@asynccontextmanager
async def in_front(
    name: str, port: int, admin_port: int, folder: Path, spoilt: Mapping[str, str] = MappingProxyType({})
) -> AsyncIterator[int]:
    """Run a front with its shipped file, and give its port once it answers; `spoilt`: what is changed for the worse."""
    own = quiet_port()
    text = replaced(FRONTS[name].changes(shipped(name), port, admin_port, own), spoilt)
    async with running_front(name, text, own, folder):
        yield own


@asynccontextmanager
async def running_front(name: str, text: str, own: int, folder: Path) -> AsyncIterator[None]:
    """Run a front with this text as its file until the end; it answers on its `own` port."""
    folder = folder / name
    folder.mkdir()
    file = folder / Path(FRONTS[name].file).name
    file.write_text(text)
    command = _command(name, FRONTS[name].run, file, folder)
    with (folder / "front.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(*command, env=_environment(name, folder), stdout=log, stderr=log)
    try:
        await eventually(lambda: process.returncode is not None or _listens(own), 30, f"{name} listens")
        assert process.returncode is None, (folder / "front.log").read_text()
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def _command(name: str, words: tuple[str, ...], file: Path, folder: Path) -> list[str]:
    return [installed(name), *(word.format(file=file, folder=folder) for word in words[1:])]


def _environment(name: str, folder: Path) -> dict[str, str]:
    return environment(**{key: value.format(folder=folder) for key, value in FRONTS[name].environment.items()})


def _listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0
