"""Joining other replicas: this one's name among them, the bus, and the limits that are kept together."""

import socket
from contextlib import AsyncExitStack
from functools import partial
from os import urandom
from typing import TYPE_CHECKING, Final

from proxy.app.errors import StartError
from proxy.core.bus_address import parse_bus_url
from proxy.core.settings.settings import Settings
from proxy.edge.gateway import Gateway
from proxy.engine.engine import Engine
from proxy.engine.limits.sharing import Rhythm, Sharing
from proxy.engine.replicas.cluster import Cluster
from proxy.stores.bus.port import Bus, BusUnavailableError

if TYPE_CHECKING:
    from proxy.stores.shared_ledger.ledger import SharedLedger

HOST_MOST: Final = 50
"""Characters of a host name that are taken for a replica's."""

NOT_INSTALLED: Final = "bus.url needs the package redis: install quell[distributed], or leave bus out"


def replica_name(settings: Settings) -> str:
    """This replica's name. Among several none may have another's, be it on the same machine."""
    if settings.replica != "auto":
        return settings.replica
    host = socket.gethostname()
    alone = settings.bus.url is None and not settings.ledger.is_shared
    return host if alone else f"{host[:HOST_MOST]}-{urandom(4).hex()}"


async def join(
    settings: Settings, engine: Engine, gateway: Gateway, shared: "SharedLedger | None", stack: AsyncExitStack
) -> Cluster | None:
    """Be one replica of several, until the stack unwinds; None: the settings name no bus.

    Raises:
        StartError: the package for the bus is missing.
    """
    url, secret = settings.bus.url, settings.bus.secret
    if url is None or secret is None:
        return None
    try:
        from proxy.stores.bus.redis import RedisBus  # noqa: PLC0415 the package is an extra
        from proxy.stores.bus.shared_redis import RedisNumbers  # noqa: PLC0415 the package is an extra
    except ImportError as error:
        raise StartError(NOT_INSTALLED) from error
    key = secret.get_secret_value().encode()
    address, lease = parse_bus_url(url), settings.bus.lease
    bus = RedisBus(address, key, engine.replica, lease)
    cluster = Cluster(engine, bus, key)
    stack.push_async_callback(cluster.close)
    if shared is not None:
        shared.conversations.burials.lives = partial(_lives, bus)
    await cluster.open(gateway.serve_for_another, gateway.look_for_another)
    numbers, rhythm = RedisNumbers(address, key, lease), Rhythm(settings.ledger.flush, lease, settings.bus.shares)
    sharing = Sharing(bus, numbers, engine.registry, engine.metrics, engine.now, rhythm)
    stack.push_async_callback(sharing.close)
    await sharing.open()
    engine.share(sharing)
    return cluster


async def _lives(bus: Bus, replica: str) -> bool:
    """Whether the bus takes a replica for alive; without the bus nobody knows."""
    try:
        return not await bus.is_dead(replica)
    except BusUnavailableError:
        return False
