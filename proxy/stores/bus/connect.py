"""From the address of a bus to a client of it. Needs the extra `distributed`."""

import contextlib
from typing import Any, Final

from redis.asyncio import Redis, RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, AuthorizationError, NoPermissionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from proxy.core.bus_address import BusAddress

CONNECT_SECONDS: Final = 1.0
ANSWER_SECONDS: Final = 2.0
"""How long a server may take; nothing waits longer for it."""

REASON_MOST: Final = 300
"""Characters of a reason that are shown."""

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


def reason(error: BaseException) -> str:
    """Why the bus could not be asked, in a line without what was said to it."""
    if isinstance(error, TimeoutError | RedisTimeoutError):
        return "no answer in time"
    text = str(error).partition("\n")[0].partition(", with args")[0]
    return text[:REASON_MOST] or type(error).__name__


def hint(error: BaseException) -> str:
    """What an operator may do about it."""
    if isinstance(error, AuthenticationError | AuthorizationError) or str(error).startswith(("NOAUTH", "WRONGPASS")):
        return "mend the name and the password in bus.url"
    if isinstance(error, NoPermissionError):
        return "let this user of the server use every command on keys and channels that begin with quell:"
    return "see that bus.url is right and the server runs; it is tried again all the time"


async def let_go(client: Client) -> None:
    """Close all connections, those to Sentinels too; one that is broken is closed already."""
    pool = getattr(client, "connection_pool", None)
    sentinels = pool.sentinel_manager.sentinels if isinstance(pool, SentinelConnectionPool) else ()
    for each in (client, *sentinels):
        with contextlib.suppress(Exception):
            await each.aclose()


def milliseconds(seconds: float) -> int:
    """As the server counts time."""
    return round(seconds * 1000)


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
