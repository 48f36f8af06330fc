"""Two replicas behind the balancer, as plain processes, with the very files that `deploy/` runs in containers.

async with topology(up.base_url, tmp_path, database.url) as site:
    ... site.port is the balancer's, site.key the callers'; await site.restart("a")
"""

import re
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from redis import Redis

from proxy.stores.bus.names import Names
from support.balancer import haproxy_in_front, quiet_port
from support.chat import chat_events
from support.client import RawClient
from support.deploy_files import DEPLOY
from support.program import ROOT, START_PATIENCE, Program, environment
from support.redis_server import redis_server
from support.scripts import sse_stream
from support.upstream import Conn, Script
from support.wait import eventually

ENDED = re.compile(r"^quell_generations_total\{.*\} (\S+)$", re.MULTILINE)
DRAIN_PATIENCE = 60.0
"""Seconds for a drain in which only what is short runs."""


def new_secrets() -> tuple[dict[str, str], str]:
    """What `deploy/new-secrets` makes: the environment's variables, and the key of the callers."""
    done = subprocess.run([DEPLOY / "new-secrets"], capture_output=True, text=True, check=True)
    found = dict(line.split("=", 1) for line in done.stdout.splitlines())
    return found, done.stderr.rsplit(" ", 1)[1].strip()


class Replica:
    """One replica, on ports that it keeps when it is started again."""

    def __init__(self, folder: Path, env: dict[str, str]) -> None:
        self.port, self.admin_port = quiet_port(), quiet_port()
        self._folder, self._env = folder, env
        folder.mkdir()
        text = (ROOT / "config" / "replicas.yaml").read_text()
        for old, new in (("0.0.0.0:8484", self.port), ("0.0.0.0:8485", self.admin_port)):
            assert text.count(old) == 1, old
            text = text.replace(old, f"127.0.0.1:{new}")
        (folder / "quell.yaml").write_text(text)
        self.program: Program | None = None

    async def start(self) -> None:
        """Start it, and wait until it is ready."""
        self.program = Program(["-m", "proxy", "serve", "-c", "quell.yaml"], self._folder, environment(**self._env))
        await self.program.ready()
        await eventually(self.is_ready, START_PATIENCE, "the replica is ready")

    async def is_ready(self) -> bool:
        """Whether /readyz says so."""
        async with RawClient(self.admin_port) as client:
            await client.get("/readyz")
            return (await client.answer()).status == 200

    def kill(self) -> None:
        """Leave no process behind."""
        if self.program is not None:
            self.program.kill()

    async def end(self) -> int:
        """SIGTERM, and the exit code after its drain."""
        assert self.program is not None
        self.program.signal(signal.SIGTERM)
        return await self.program.exit_code(DRAIN_PATIENCE)


class Site:
    """The whole of it."""

    def __init__(self, port: int, key: str, replicas: dict[str, Replica]) -> None:
        self.port, self.key, self.replicas = port, key, replicas

    @property
    def headers(self) -> list[tuple[str, str]]:
        """The headers of a caller."""
        return [("Authorization", f"Bearer {self.key}")]

    async def restart(self, name: str) -> None:
        """Let a replica drain and end, and start it again, as a deploy does; the other one must be in use."""
        assert await self.replicas[name].end() == 0
        await self.replicas[name].start()
        await self.uses(name)

    async def uses(self, name: str) -> None:
        """Wait until the balancer leads somebody to a replica: it has found it ready."""
        await eventually(lambda: self._is_used(name), what=f"the balancer uses {name}")

    async def _is_used(self, name: str) -> bool:
        """Two calls in a row go to both, as they are taken in turn where none has more to do."""
        before = await self._answered(name)
        async with RawClient(self.port) as one, RawClient(self.port) as two:
            for client in (one, two):
                await client.post("/v1/chat/completions", PROBE, [*self.headers])
                await client.answer()
        return await self._answered(name) > before

    async def _answered(self, name: str) -> int:
        """How many generations of one replica have ended."""
        async with RawClient(self.replicas[name].admin_port) as client:
            await client.get("/metrics")
            lines = (await client.answer()).body.decode()
        return sum(
            round(float(each)) for each in re.findall(r"^quell_generations_total\{.*\} (\S+)$", lines, re.MULTILINE)
        )


PROBE = {"model": "scripted", "stream": True, "messages": [{"role": "user", "content": "probe"}]}


def besides_probes(script: Script) -> Script:
    """Let the site's own probes be answered at once, and everything else by `script`."""
    answer = sse_stream(chat_events(1), headers=[("Content-Type", "text/event-stream"), ("Connection", "close")])

    async def serve(conn: Conn) -> None:
        await (answer if b'"probe"' in conn.request.body else script)(conn)

    return serve


@asynccontextmanager
async def topology(base_url: str, folder: Path, ledger: str) -> AsyncIterator[Site]:
    """Start all of it, in front of an upstream whose script knows probes, see `besides_probes`.

    `ledger` is the address of a database in PostgreSQL.
    """
    secrets, key = new_secrets()
    async with AsyncExitStack() as stack:
        redis = await stack.enter_async_context(redis_server(folder))
        replicas: dict[str, Replica] = {}
        for name in "ab":
            own = {"QUELL_REPLICA": name, "QUELL_BUS": redis.url, "QUELL_LEDGER": ledger}
            env = {**secrets, **own, "OPENAI_BASE_URL": base_url, "OPENAI_API_KEY": "sk-upstream"}
            replicas[name] = replica = Replica(folder / name, env)
            stack.callback(replica.kill)
            await replica.start()
        with Redis.from_url(redis.url) as client:
            client.set(Names(secrets["QUELL_BUS_SECRET"].encode()).since, 1)  # a new directory is not complete at once
        ports = [(replica.port, replica.admin_port) for replica in replicas.values()]
        port = await stack.enter_async_context(haproxy_in_front(ports, folder))
        site = Site(port, key, replicas)
        for name in replicas:
            await site.uses(name)
        yield site
