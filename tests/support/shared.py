"""Conversations that replicas share in a PostgreSQL database of a test's own, each with a file of its own beside it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from proxy.core.ledger_address import parse_ledger_address
from proxy.stores.conversations.holds_statements import new_owner
from proxy.stores.conversations.postgres import PostgresConversations
from proxy.stores.postgres import Postgres
from support.client import Answer, RawClient, request_bytes
from support.ledgers import a_ledger
from support.postgres import Database
from support.program import ADMIN_TOKEN
from support.proxy import RunningProxy
from support.redis_server import RedisServer, redis_server
from support.replicas import bus_of, replicas
from support.upstream import Script, ScriptedUpstream, scripted_upstream
from support.wait import eventually


@asynccontextmanager
async def shared_conversations(url: str, file: Path, **settings: Any) -> AsyncIterator[PostgresConversations]:
    """One replica's conversations; settings as for `PostgresConversations`."""
    known: dict[str, Any] = {"lease": 10.0, "keep": 1000.0, "async_keep": 100.0, "patience": 5.0}
    async with a_ledger(file) as ledger:
        store = PostgresConversations(
            Postgres(parse_ledger_address(url), size=8),
            Postgres(parse_ledger_address(url), size=1),
            ledger.late,
            settings.pop("place", str(file)),
            settings.pop("life", new_owner()),
            **(known | settings),
        )
        await store.open()
        try:
            yield store
        finally:
            await store.close()


@asynccontextmanager
async def joined(
    script: Script, folder: Path, url: str, names: str = "ab", **config: Any
) -> AsyncIterator[tuple[list[RunningProxy], ScriptedUpstream]]:
    """Replicas with a bus of their own and these conversations, in front of an upstream."""
    shared: dict[str, Any] = {"ledger": {"url": url, "text": "all"}, **config}
    async with (
        redis_server(folder) as redis,
        scripted_upstream(script) as up,
        replicas(folder, up.base_url, redis.url, names, **shared) as started,
    ):
        yield started, up


@asynccontextmanager
async def sharing(
    script: Script, folder: Path, url: str, **config: Any
) -> AsyncIterator[tuple[RunningProxy, RunningProxy, RedisServer, ScriptedUpstream]]:
    """Two such replicas, with the bus at hand."""
    shared: dict[str, Any] = {"ledger": {"url": url, "text": "all"}, **config}
    async with (
        redis_server(folder) as redis,
        scripted_upstream(script) as up,
        replicas(folder, up.base_url, redis.url, "ab", **shared) as (a, b),
    ):
        yield a, b, redis, up


async def is_shared(database: Database, running: int = 1) -> None:
    """Wait until the ledger has so many starts of what runs."""
    count = "SELECT count(*) FROM running"
    await eventually(lambda: database.sql(count) == [[str(running)]], what="the starts are shared")


async def lose_bus(redis: RedisServer, *proxies: RunningProxy) -> None:
    """End the bus, and wait until these know that it is away."""
    redis.kill()
    await eventually(lambda: not any(bus_of(each).is_up for each in proxies), what="the bus is away")


async def admin(proxy: RunningProxy, method: str, path: str, body: bytes = b"") -> Answer:
    """One request to the admin API's generations."""
    headers = [("Authorization", f"Bearer {ADMIN_TOKEN}"), ("Content-Type", "application/json")]
    async with RawClient(proxy.admin_port) as client:
        await client.send(request_bytes(method, f"/api/generations{path}", body, headers))
        return await client.answer()
