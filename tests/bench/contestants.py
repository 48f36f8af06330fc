"""Who is measured: starts the scripted upstream and the proxies as processes, and ends them in every case."""

import ctypes
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from bench import client, meters

HERE: Final = Path(__file__).resolve().parent
ROOT: Final = HERE.parents[1]
DISK: Final = "/var/tmp"  # noqa: S108 the ledger is to be on a disk, which /tmp often is not
IDLE_LOOK: Final = 0.2
IDLE_LOOKS: Final = 50
"""So many looks of so many seconds at a process that should come to rest."""
GRACE: Final = 5.0
"""Seconds that a process may take to end before it is killed."""

DIRECT: Final = "no proxy"
NGINX: Final = "nginx"
HOP: Final = "plain aiohttp"
QUELL: Final = "Quell"
QUELL_OFF: Final = "Quell, ledger off"

TRANSLATED: Final = ("dify", "async_messages", "aitronos", "assistants")
"""The translated dialects, each at a route of its name."""

_PDEATHSIG: Final = 1
_LIBC: Final = ctypes.CDLL(None, use_errno=True)

NGINX_FILE: Final = """
worker_processes 1; daemon off; pid {folder}/pid; error_log {folder}/error.log; worker_rlimit_nofile {files};
events {{ worker_connections {files}; }}
http {{
  access_log off; client_body_temp_path {folder}/1; proxy_temp_path {folder}/2; fastcgi_temp_path {folder}/3;
  uwsgi_temp_path {folder}/4; scgi_temp_path {folder}/5; keepalive_requests 1000000;
  upstream up {{ server 127.0.0.1:{upstream}; keepalive 512; keepalive_requests 1000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=8192;
    location / {{
      proxy_pass http://up; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off;
      proxy_read_timeout 1h; proxy_send_timeout 1h; send_timeout 1h;
    }}
  }}
}}
"""


@dataclass(slots=True)
class Contestant:
    """A running process that listens on a port."""

    name: str
    port: int
    process: "subprocess.Popen[bytes]"
    log: Path

    def pids(self) -> list[int]:
        """The process and what it started."""
        return meters.family(self.process.pid)

    def cpu(self) -> float:
        """CPU seconds used so far."""
        return meters.cpu_seconds(self.pids())

    def await_idle(self) -> None:
        """Wait until it does nothing: Quell loads its tokenizer after its start."""
        for _ in range(IDLE_LOOKS):
            used = self.cpu()
            time.sleep(IDLE_LOOK)
            if self.cpu() - used < IDLE_LOOK / 20:
                return
        raise RuntimeError(f"{self.name} does not come to rest")

    def kill(self) -> None:
        """End it without giving it a chance."""
        self.process.kill()
        self.process.wait()

    def end(self) -> None:
        """End it as one should."""
        _end(self.process)


class Arena:
    """Starts processes, in a folder of its own; `close` ends all of them and removes the folder."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self.folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="quell-bench-", dir=DISK)))
        self.folder.chmod(0o755)  # nginx' worker runs as somebody else
        self._number = 0
        self.nginx = _nginx_version()
        self.upstream = self._start("upstream", lambda port, _: [sys.executable, str(HERE / "upstream.py"), str(port)])

    def close(self) -> None:
        """End what still runs."""
        self._stack.close()

    @contextmanager
    def running(self, name: str) -> Iterator[Contestant]:
        """One of the proxies, fresh, for a while."""
        contestant = self.start(name)
        try:
            yield contestant
        finally:
            contestant.end()

    def start(self, name: str, folder: Path | None = None, more: Mapping[str, Any] | None = None) -> Contestant:
        """Start a proxy by its name; `folder` is for Quell's ledger, a new one when left out; `more`: its settings."""
        commands: dict[str, Callable[[int, Path], list[str]]] = {
            NGINX: self._nginx_command,
            HOP: lambda port, _: [sys.executable, str(HERE / "hop.py"), str(port), str(self.upstream.port)],
            QUELL: lambda port, where: [
                *(sys.executable, "-m", "proxy", "serve", "--config"),
                self._config(port, where, more or {}),
            ],
            QUELL_OFF: lambda port, where: [
                sys.executable,
                str(HERE / "quell_without_ledger.py"),
                self._config(port, where, {}),
            ],
        }
        contestant = self._start(name, commands[name], folder)
        contestant.await_idle()
        return contestant

    def proxies(self) -> list[str]:
        """The names of the proxies that can be had here."""
        return ([NGINX] if self.nginx else []) + [HOP, QUELL, QUELL_OFF]

    def _start(self, name: str, command: Callable[[int, Path], list[str]], folder: Path | None = None) -> Contestant:
        self._number += 1
        where = folder or self.folder / f"{self._number}"
        where.mkdir(exist_ok=True)
        port = free_port()
        log = where / "log"
        with log.open("ab") as out:
            process = subprocess.Popen(
                command(port, where),
                cwd=where,
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                preexec_fn=_die_with_parent,  # noqa: PLW1509 there are no threads yet, and no other way to be told
                start_new_session=True,  # Ctrl-C is ours to handle
            )
        self._stack.callback(_end, process)
        contestant = Contestant(name, port, process, log)
        _await_port(contestant)
        return contestant

    def _nginx_command(self, port: int, folder: Path) -> list[str]:
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        file = folder / "nginx.conf"
        file.write_text(NGINX_FILE.format(folder=folder, files=files, port=port, upstream=self.upstream.port))
        return ["nginx", "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(file)]

    def _config(self, port: int, folder: Path, more: Mapping[str, Any]) -> str:
        settings: dict[str, Any] = {
            "version": 1,
            "listen": f"127.0.0.1:{port}",
            "admin": {"listen": f"127.0.0.1:{free_port()}", "token": "bench"},
            "upstreams": {"up": {"base_url": f"http://127.0.0.1:{self.upstream.port}/v1"}},
            "routes": [
                {"path": "/v1", "dialect": "openai", "upstream": "up"},
                *({"path": f"/{name}", "dialect": name, "upstream": "up", "model": "bench"} for name in TRANSLATED),
                {"path": "/responses", "dialect": "openai", "responses": "emulate", "upstream": "up"},
            ],
            "ledger": {"url": f"sqlite:///{folder}/quell.db"},
            "drain": {"ready_delay": "0s", "timeout": "1s"},
            "observability": {"log": {"level": "warning"}},
            **more,
        }
        file = folder / "quell.yaml"
        file.write_text(yaml.safe_dump(settings))
        return str(file)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _await_port(contestant: Contestant) -> None:
    deadline = time.monotonic() + client.PATIENCE
    while time.monotonic() < deadline and contestant.process.poll() is None:
        with socket.socket() as probe:
            if not probe.connect_ex(("127.0.0.1", contestant.port)):
                return
        time.sleep(0.05)
    raise RuntimeError(f"{contestant.name} did not start:\n{contestant.log.read_text(errors='replace')}")


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _die_with_parent() -> None:
    _LIBC.prctl(_PDEATHSIG, signal.SIGTERM)


def _environment() -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("QUELL_", "OPENAI_", "PYTHON"))}
    return kept | {"PYTHONPATH": str(ROOT)}


def _nginx_version() -> str:
    """Such as `nginx/1.22.1`; empty where there is none."""
    if shutil.which("nginx") is None:
        return ""
    shown = subprocess.run(["nginx", "-v"], capture_output=True, text=True, check=False)
    return shown.stderr.strip().rpartition(" ")[2]
