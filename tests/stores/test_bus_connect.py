"""The ways to a server: with a password, over TLS, through Sentinels that choose another one, by a Cluster's nodes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from proxy.core.bus_address import parse_bus_url
from proxy.stores.bus.port import BusUnavailableError, Owned
from proxy.stores.bus.redis import RedisBus
from support.inbox import Box
from support.redis_server import RedisServer, command_at, free_port, redis_cluster, redis_server
from support.tls import make_certificate
from support.wait import eventually

MINE = Owned("u", "key:acme", "t", "m", (), None, b"")


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[RedisBus]:
    """A bus at an address."""
    bus = RedisBus(parse_bus_url(url), b"secret", "a", 10.0)
    await bus.open(Box())
    try:
        yield bus
    finally:
        await bus.close()


async def finds(bus: RedisBus) -> bool:
    """Whether the one generation is found."""
    try:
        return await bus.find("key:acme", "t") is not None
    except BusUnavailableError:
        return False


@pytest.mark.parametrize(("credentials", "is_let_in"), [(":p%40ss@", True), (":wrong@", False), ("", False)])
async def test_a_password(tmp_path: Path, credentials: str, *, is_let_in: bool) -> None:
    """With the password the bus is up; without, it stays down, and nothing fails."""
    async with redis_server(tmp_path, "--databases", "4") as redis:
        redis.command("CONFIG", "SET", "requirepass", "p@ss")
        async with opened(f"redis://{credentials}127.0.0.1:{redis.port}/3") as bus:
            assert bus.is_up is is_let_in


@pytest.mark.parametrize(
    ("credentials", "why", "hint"), [(":wrong-canary@", "invalid", "password"), (None, "refused", "bus.url")]
)
async def test_the_log_says_what_failed_where_and_why(
    tmp_path: Path, credentials: str | None, why: str, hint: str
) -> None:
    """A bus that can't be used is in the log with its address, the reason and what to do, and no credential."""
    async with redis_server(tmp_path) as redis:
        redis.command("CONFIG", "SET", "requirepass", "p@ss")
        if credentials is None:
            redis.kill()
        with capture_logs() as logs:
            async with opened(f"redis://{credentials or ''}127.0.0.1:{redis.port}/3") as bus:
                with pytest.raises(BusUnavailableError) as unavailable:
                    await bus._line.call("PING")
    failed = next(line for line in logs if line["event"] == "bus.failed")
    assert failed["bus"] == f"127.0.0.1:{redis.port}/3"
    assert why in failed["why"]
    assert why in str(unavailable.value)
    assert hint in failed["hint"]
    assert "canary" not in str(logs)


async def test_tls(tmp_path: Path) -> None:
    """Over TLS the certificate's authority must be known."""
    made = make_certificate(tmp_path)
    port, cert, key = str(free_port()), str(made.cert), str(made.key)
    options = ("--tls-port", port, "--tls-cert-file", cert, "--tls-key-file", key, "--tls-auth-clients", "no")
    async with redis_server(tmp_path, *options):
        async with opened(f"rediss://localhost:{port}?ca_file={cert}") as bus:
            bus.own(MINE)
            await eventually(lambda: finds(bus))
        async with opened(f"rediss://localhost:{port}") as bus:
            assert not bus.is_up


async def test_sentinels_choose_another(tmp_path: Path) -> None:
    """When the primary dies, the bus goes on with the one that the Sentinels choose, and all is known there."""
    async with redis_server(tmp_path) as primary:
        replica_of = ("--replicaof", f"127.0.0.1 {primary.port}", "--repl-diskless-sync-delay", "0")
        async with redis_server(tmp_path, *replica_of) as replica, a_sentinel(tmp_path, primary) as port:
            await eventually(lambda: b"master_link_status:up" in replica.command("INFO", "replication"))
            await eventually(lambda: knows_replica(port), what="the Sentinel knows the replica")
            async with opened(f"redis+sentinel://127.0.0.1:{port}/main") as bus:
                bus.own(MINE)
                await eventually(lambda: finds(bus))
                primary.kill()
                await eventually(lambda: not bus.is_up)
                await eventually(lambda: finds(bus), 30.0)
                assert b"role:master" in replica.command("INFO", "replication")


@asynccontextmanager
async def a_sentinel(folder: Path, primary: RedisServer) -> AsyncIterator[int]:
    """A Sentinel that decides alone, and soon; gives its port."""
    file = folder / "sentinel.conf"
    file.write_text(
        f"sentinel monitor main 127.0.0.1 {primary.port} 1\n"
        "sentinel down-after-milliseconds main 500\n"
        "sentinel failover-timeout main 2000\n"
    )
    sentinel = RedisServer(folder, sentinel=file)
    try:
        await sentinel.start()
        yield sentinel.port
    finally:
        sentinel.kill()


def knows_replica(port: int) -> bool:
    """Whether a Sentinel has found the primary's replica."""
    found = command_at(port, "SENTINEL", "replicas", "main")
    return bool(found) and b"disconnected" not in str(found).encode()


async def test_a_cluster_loses_a_node(tmp_path: Path) -> None:
    """A Cluster of which a node dies is down, and keeps nobody waiting; it is up again when the node is back."""
    async with redis_cluster(tmp_path) as cluster, opened(cluster.url) as bus:
        bus.own(MINE)
        await eventually(lambda: finds(bus))
        cluster.servers[1].pause()
        await eventually(lambda: not bus.is_up, 20.0)
        with pytest.raises(BusUnavailableError):
            await bus.find("key:acme", "t")
        cluster.servers[1].resume()
        await eventually(lambda: finds(bus), 30.0)
