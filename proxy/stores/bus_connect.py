"""From the address of a bus to a client of it. Needs the extra `distributed`."""

import contextlib
from typing import Any, Final

from redis.asyncio import Redis, RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.backoff import NoBackoff

from proxy.core.bus_address import BusAddress

CONNECT_SECONDS: Final = 1.0
ANSWER_SECONDS: Final = 2.0
"""How long a server may take; nothing waits longer for it."""

Client = Redis | RedisCluster


def connect(address: BusAddress) -> Client:
    """A client of the bus; it connects when it is first used.

    What failed is tried again once and at once: a server that was restarted left dead connections behind.
    """
    common = _common(address)
    if address.kind == "cluster":
        nodes = [ClusterNode(host, port) for host, port in address.hosts]
        return RedisCluster(startup_nodes=nodes, **common)
    common |= {"db": address.db, "retry": Retry(NoBackoff(), 1)}
    if address.kind == "sentinel":
        tls = {name: value for name, value in common.items() if name.startswith(("ssl", "socket"))}
        sentinel = Sentinel(  # type: ignore[no-untyped-call] # the package has no types here
            list(address.hosts), sentinel_kwargs=tls, **common
        )
        found: Redis = sentinel.master_for(address.service)
        return found
    ((host, port),) = address.hosts
    return Redis(host=host, port=port, **common)


async def let_go(client: Client) -> None:
    """Close all connections, those to Sentinels too; one that is broken is closed already."""
    pool = getattr(client, "connection_pool", None)
    sentinels = pool.sentinel_manager.sentinels if isinstance(pool, SentinelConnectionPool) else ()
    for each in (client, *sentinels):
        with contextlib.suppress(Exception):
            await each.aclose()


def _common(address: BusAddress) -> dict[str, Any]:
    common: dict[str, Any] = {
        "username": address.username,
        "password": address.password,
        "socket_timeout": ANSWER_SECONDS,
        "socket_connect_timeout": CONNECT_SECONDS,
        "socket_keepalive": True,
        "protocol": 2,
    }
    if address.tls:
        common |= {"ssl": True, "ssl_ca_certs": address.ca_file}
    return common
