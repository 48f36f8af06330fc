"""Conversations that replicas share in a PostgreSQL database of a test's own, each with a file of its own beside it."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from redis import Redis

from proxy.core.ledger_address import parse_ledger_address
from proxy.stores.bus_names import Names
from proxy.stores.conversations import Conversations, Owner
from proxy.stores.conversations_postgres import PostgresConversations
from proxy.stores.ledger_sqlite import SqliteLedger, open_ledger
from proxy.stores.postgres import Postgres
from support.ledgers import a_ledger
from support.proxy import RunningProxy, running_proxy
from support.redis_server import redis_server
from support.replicas import SECRET, bus_of, replica_text
from support.upstream import Script, ScriptedUpstream, scripted_upstream
from support.wait import eventually


@asynccontextmanager
async def shared_conversations(url: str, file: Path, **settings: Any) -> AsyncIterator[PostgresConversations]:
    """One replica's conversations; settings as for `PostgresConversations`."""
    known: dict[str, Any] = {"lease": 10.0, "keep": 1000.0, "async_keep": 100.0, "patience": 5.0}
    async with a_ledger(file) as ledger:
        store = PostgresConversations(
            Postgres(parse_ledger_address(url), size=8),
            ledger.late,
            settings.pop("place", str(file)),
            **(known | settings),
        )
        await store.open()
        try:
            yield store
        finally:
            await store.close()


class _Joined(SqliteLedger):
    """A ledger of its own beside shared conversations."""

    conversations: Conversations  # type: ignore[misc]  # the tests put others in its place

    async def close(self) -> None:
        """Close both."""
        if isinstance(self.conversations, PostgresConversations):
            await self.conversations.close()
        await super().close()


@asynccontextmanager
async def joined(
    script: Script, folder: Path, url: str, names: str = "ab", **config: Any
) -> AsyncIterator[tuple[list[RunningProxy], ScriptedUpstream]]:
    """Replicas with a bus of their own and these conversations, in front of an upstream."""
    lease = config.pop("lease", 10.0)
    async with redis_server(folder) as redis, scripted_upstream(script) as up, AsyncExitStack() as stack:
        started = []
        for name in names:
            own = folder / name
            own.mkdir()
            ledger = await open_ledger(
                f"sqlite:///{own / 'quell.db'}",
                text="all",
                keep=1e6,
                text_keep=1e6,
                now=5000.0,
                replica=name,
            )
            shared = PostgresConversations(
                Postgres(parse_ledger_address(url), size=8),
                ledger.late,
                str(own),
                lease=lease,
                keep=1e6,
                async_keep=1e6,
                patience=5.0,
            )
            await shared.open()
            await shared.find_thread(Owner("", ""), "")  # Alembic makes the tables of one database at a time
            ledger.__class__ = _Joined
            ledger.conversations = shared  # type: ignore[misc,assignment]
            text = replica_text(up.base_url, redis.url, name, **dict(config))
            started.append(await stack.enter_async_context(running_proxy(text, own, ledger=ledger)))
        await eventually(lambda: all(bus_of(proxy).is_up for proxy in started), what="every replica uses the bus")
        with Redis.from_url(redis.url) as directory:
            directory.set(Names(SECRET.encode()).since, 1)  # a new directory is not complete for some seconds
        yield started, up
