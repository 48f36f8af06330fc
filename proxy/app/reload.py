"""Taking new settings while the proxy runs, as a whole or not at all; what runs keeps its old route."""

import asyncio
from collections.abc import Callable
from typing import Any, Final

import structlog

from proxy.app.building import build_runtime, encodings, prepare_budgets
from proxy.core.settings.settings import Settings
from proxy.edge.admin.errors import ReloadError
from proxy.edge.gateway import Gateway
from proxy.engine.engine import Engine
from proxy.engine.settling.counting import Counter
from proxy.engine.settling.sink import Sink
from proxy.engine.tasks import Tasks
from proxy.engine.upstreams.upstream import Upstream

log = structlog.get_logger()

Reread = Callable[[], Settings]

NEEDS_RESTART: Final = ("listen", "admin", "ledger", "replica", "bus", "workers", "observability")


def read_again(reread: Reread | None) -> Settings:
    """New settings, as whole as at the start.

    Raises:
        ReloadError: there is no file to read, or something is wrong with what it says.
    """
    if reread is None:
        raise ReloadError(["started without a config file, so there is nothing to reload"])
    return reread()


def kept_until_restart(running: Settings, fresh: Settings) -> dict[str, Any]:
    """The sections of new settings that only a restart takes, as they are until then."""
    kept = {key: getattr(running, key) for key in NEEDS_RESTART}
    kept["admin"] = running.admin.model_copy(update={"tokens": fresh.admin.tokens})  # these come and go with a reload
    return kept


class Reloader:
    """Swaps what the settings describe, one reload after the other."""

    def __init__(
        self, started_with: Settings, engine: Engine, gateway: Gateway, counter: Counter, sink: Sink, tasks: Tasks
    ) -> None:
        """Ready; `started_with` are the settings of the start, some of which hold until the next one."""
        self._started_with = started_with
        self._engine = engine
        self._gateway = gateway
        self._counter = counter
        self._sink = sink
        self._tasks = tasks
        self._one_by_one = asyncio.Lock()

    async def reload(self, reread: Reread | None) -> list[str]:
        """Take new settings. Gives what of them needs a restart.

        Raises:
            ReloadError: there is something wrong with the new settings, the old ones stay.
        """
        async with self._one_by_one:
            return await self._reload(reread)

    async def _reload(self, reread: Reread | None) -> list[str]:
        engine, gateway = self._engine, self._gateway
        try:
            settings = await asyncio.to_thread(read_again, reread)  # a new vocabulary takes its time
            await self._counter.warm(encodings(settings))
            budgets = await prepare_budgets(settings, engine)
            old = gateway.runtime
            gateway.runtime = await build_runtime(settings, old.upstreams, engine.metrics)
        except ReloadError as error:
            engine.metrics.reload_success.set(0)
            log.warning("config.rejected", problems=error.problems)
            raise
        engine.budgets.hold(budgets)
        kept = set(gateway.runtime.upstreams.values())
        for upstream in set(old.upstreams.values()) - kept:
            self._tasks.start(_retire(upstream), f"retire {upstream.name}")
        self._sink.configure(settings.sink)
        engine.metrics.reload_success.set(1)
        running = kept_until_restart(self._started_with, settings)
        waiting = [key for key in NEEDS_RESTART if getattr(settings, key) != running[key]]
        gateway.runtime.needs_restart = tuple(waiting)
        log.info("config.reloaded", needs_restart=waiting)
        return waiting


async def _retire(upstream: Upstream) -> None:
    """Close an upstream that the settings no longer have, once nothing uses it."""
    await upstream.unused()
    await upstream.close()
