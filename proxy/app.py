"""The composition root: builds the parts, wires them in order, unwinds them in reverse; concrete ones meet here."""

import asyncio
import contextlib
import errno
import os
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from functools import partial
from os import urandom
from typing import TYPE_CHECKING, Any, Protocol

import structlog
from aiohttp import web

from proxy.core.bus_address import parse_bus_url
from proxy.core.encodings import AUTO, EncodingSetting, each_encoding
from proxy.core.generation import Priced
from proxy.core.record import Record
from proxy.core.settings.settings import Address, PricesSettings, Settings, UpstreamSettings
from proxy.dialects import DIALECTS
from proxy.edge.admin.errors import ReloadError
from proxy.edge.admin.listener import make_admin_runner
from proxy.edge.admin.playground import SeenByDemo
from proxy.edge.admin.sessions import Sessions, digest_of
from proxy.edge.admin.token import admin_token
from proxy.edge.gateway import Gateway
from proxy.edge.runtime import Runtime
from proxy.edge.server import QuellRunner, make_runner
from proxy.edge.tracing import Tracing, TracingError, start_tracing
from proxy.engine.engine import Engine
from proxy.engine.limits.budgets import Prepared
from proxy.engine.limits.sharing import Rhythm, Sharing
from proxy.engine.replicas.cluster import Cluster
from proxy.engine.settling.counting import Counter
from proxy.engine.settling.forwarding import Forwarding
from proxy.engine.settling.genai_fallback import NOT_INSTALLED, GenaiPrices
from proxy.engine.settling.left_records import settle_left_records
from proxy.engine.settling.pricing import Pricing
from proxy.engine.settling.sink import Sink
from proxy.engine.tasks import Tasks
from proxy.engine.telemetry.expected_series import expect
from proxy.engine.telemetry.metrics import Metrics
from proxy.engine.upstreams.upstream import Upstream
from proxy.stores.bus.port import Bus, BusUnavailableError
from proxy.stores.ledger.choice import open_chosen
from proxy.stores.ledger.open import Left
from proxy.stores.ledger.port import Ledger, LedgerUnavailableError
from proxy.stores.ledger.sqlite import SqliteLedger

if TYPE_CHECKING:
    from proxy.stores.shared_ledger.ledger import SharedLedger

log = structlog.get_logger()

Reload = Callable[[], Settings]

SETTLE_SECONDS = 10.0
"""How long the last records may wait for a disk that does not answer, before the ledger is closed without them."""

SINK_SECONDS = 2.0
"""How long the last records may wait for a sink that takes them. What it was not served it is served after the next
start."""

GOODBYE_SECONDS = 2.0
"""How long readers that lag may go on reading after everything has ended; aiohttp takes this time twice."""

BY_HAND = "--{0} HOST:PORT (make run ARGS='--{0} HOST:PORT')"
"""Where an address is set when there is no config file."""

NEEDS_RESTART = ("listen", "admin", "ledger", "replica", "bus", "workers", "observability")

HOST_MOST = 50
"""Characters of a host name that are taken for a replica's."""

BUS_NOT_INSTALLED = "bus.url needs the package redis: install quell[distributed], or leave bus out"


class StartError(Exception):
    """The proxy can't start; the message says why and what to do."""


class Among(Protocol):
    """The other workers, which share the proxy's address."""

    def have_all_come_up(self) -> bool:
        """Whether each of them has served since the start."""
        ...

    def has_reloaded(self) -> None:
        """An operator had this one reload; the others shall too."""
        ...


class App:
    """A running proxy."""

    def __init__(
        self,
        settings: Settings,
        reread: Reload | None,
        among: Among | None = None,
        demo: SeenByDemo | None = None,
    ) -> None:
        """Ready to start.

        Args:
            settings: what to run.
            reread: gives new settings; None: there is no file to read again.
            among: it is one worker of several on this machine.
            demo: what the demo upstream saw of a call, where it is in this process.
        """
        self._settings = settings
        self._reread = reread
        self._among = among
        self._demo = demo
        self._sessions = Sessions(time.monotonic)
        self._admin_token = ""
        self._tracing: Tracing | None = None
        self._stack = AsyncExitStack()
        self.tasks = Tasks()
        self._reloading = asyncio.Lock()
        self._draining = False
        self._warm = False
        self.port = 0
        self.admin_port = 0
        self.replica = ""
        """This replica's name, once it has started."""
        self.interrupted = 0
        """How many generations ran when the last process died."""
        self.cluster: Cluster | None = None
        """This replica among the others, where the settings name a bus."""
        self._counter: Counter
        self.engine: Engine
        self.gateway: Gateway
        self.sink: Sink
        self._front: QuellRunner
        self.forwarding: Forwarding | None = None

    async def start(self, ledger: Ledger | None = None) -> None:
        """Open everything and listen.

        Args:
            ledger: instead of the one that the settings name.

        Raises:
            StartError: a port is in use, or a package that the settings need is missing.
            LedgerOpenError: the ledger can't be opened.
        """
        settings = self._settings
        try:
            await self._open(settings, ledger)
        except BaseException:
            await self._stack.aclose()
            raise

    async def _open(self, settings: Settings, ledger: Ledger | None) -> None:
        self.replica = replica = replica_name(settings)
        left = Left([], unsettled=False)
        shared: SharedLedger | None = None
        if ledger is None:
            opened = await open_chosen(
                settings.ledger, settings.conversations, replica, time.time(), settings.bus.lease
            )
            shared = None if isinstance(opened, SqliteLedger) else opened
            ledger, left = opened, opened.left
        self._stack.push_async_callback(self._end_tracing)
        self._stack.push_async_callback(self._last_of_all)
        self._stack.push_async_callback(ledger.close)
        self._counter = counter = Counter()
        self._stack.push_async_callback(counter.aclose)
        metrics = Metrics(settings.observability.metrics.max_series)
        metrics.interrupted(left.interrupted)
        metrics.left_stopped(left.stopped)
        self.interrupted = len(left.interrupted)
        self.engine = engine = Engine(ledger, counter, metrics, replica)
        tracing = self._trace(settings)
        self._stack.push_async_callback(engine.sweeper.end_chores)
        self.sink = Sink(ledger.outbox, metrics, settings.sink)
        self.forwarding = None if shared is None else Forwarding(shared, metrics)
        try:
            budgets = await self._budgets(settings)
            runtime = await self._runtime(settings, {})
        except ReloadError as error:
            raise StartError(str(error)) from error
        self._stack.push_async_callback(self._close_upstreams)
        engine.budgets.hold(budgets)
        self.gateway = Gateway(engine, runtime)
        await self._join(settings, replica, shared)
        self._stack.push_async_callback(self.tasks.cancel)
        warming = self.tasks.start(counter.warm(_encodings(settings)), "warm the tokenizer")
        self.tasks.start(engine.sweeper.sweep_forever(settings.ledger.flush), "sweep")
        self.tasks.start(self.sink.serve_forever(), "serve the sink")
        self.tasks.start(engine.memory.give_back_forever(), "give memory back")
        if self.forwarding is not None:
            self.tasks.start(self.forwarding.forward_forever(), "forward the ledger")
        await engine.learn()
        handle = self.gateway.handle if tracing is None else tracing.around(self.gateway)
        self._front = make_runner(handle, settings.limits, shutdown_timeout=GOODBYE_SECONDS)
        self.port = await self._listen(self._front, settings.listen, "listen", shared=self._among is not None)
        self._admin_token = admin_token(settings)
        admin = make_admin_runner(
            engine,
            lambda: self.gateway.runtime,
            token=self._admin_token,
            reload=self._reload_all,
            ready=self._ready,
            sessions=self._sessions,
            own=self._own_addresses,
            demo=self._demo,
        )
        self.admin_port = await self._listen(admin, settings.admin.listen, "admin.listen")
        self.tasks.start(self._settle_left(ledger, left), "settle what was left")
        await warming  # a stop in the first second would wait for it
        self._warm = True

    def _trace(self, settings: Settings) -> Tracing | None:
        try:
            tracing = start_tracing(settings.observability.otel, self.engine, self.replica)
        except TracingError as error:
            raise StartError(str(error)) from error
        self._tracing = tracing
        return tracing

    async def _end_tracing(self) -> None:
        """Behind the ledger: who looks on must not keep it from being closed in time."""
        if self._tracing is not None:
            await self._tracing.close()

    def make_login_code(self) -> str:
        """A code that lets somebody into the page once, soon, as the holder of the main token."""
        return self._sessions.make_code(digest_of(self._admin_token))

    def _own_addresses(self) -> list[Address]:
        """Where the proxy listens: a host name may stand for several."""
        return [Address(str(host), int(port)) for host, port, *_ in self._front.addresses]

    async def _settle_left(self, ledger: Ledger, left: Left) -> None:
        """Count what the last process left, then end what it ran and its file does not know."""
        if left.unsettled:
            told, alone = self._left_settled, lambda: self.engine.budgets.summing
            await settle_left_records(ledger, self._counter, self._encoding_of, self._price_of, told, alone)
        if self.forwarding is not None:
            await self.forwarding.end_last_life()

    async def _join(self, settings: Settings, replica: str, shared: "SharedLedger | None") -> None:
        """Be one replica of several, where the settings name a bus."""
        url, secret = settings.bus.url, settings.bus.secret
        if url is None or secret is None:
            return
        try:
            from proxy.stores.bus.redis import RedisBus  # noqa: PLC0415 the package is an extra
            from proxy.stores.bus.shared_redis import RedisNumbers  # noqa: PLC0415 the package is an extra
        except ImportError as error:
            raise StartError(BUS_NOT_INSTALLED) from error
        key = secret.get_secret_value().encode()
        address, lease = parse_bus_url(url), settings.bus.lease
        bus = RedisBus(address, key, replica, lease)
        self.cluster = cluster = Cluster(self.engine, bus, key)
        self._stack.push_async_callback(cluster.close)
        if shared is not None:
            shared.conversations.burials.lives = partial(_lives, bus)
        await cluster.open(self.gateway.serve_for_another, self.gateway.look_for_another)
        engine = self.engine
        numbers, rhythm = RedisNumbers(address, key, lease), Rhythm(settings.ledger.flush, lease, settings.bus.shares)
        sharing = Sharing(bus, numbers, engine.registry, engine.metrics, engine.now, rhythm)
        self._stack.push_async_callback(sharing.close)
        await sharing.open()
        engine.share(sharing)

    async def _listen(self, runner: web.ServerRunner, address: Address, key: str, *, shared: bool = False) -> int:
        await runner.setup()
        self._stack.push_async_callback(runner.cleanup)
        site = web.TCPSite(runner, address.host, address.port, backlog=1024, reuse_port=shared or None)
        try:
            await site.start()
        except OSError as error:
            where = key if self._reread is not None else BY_HAND.format(key.replace(".", "-"))
            raise no_listening(address, error, where) from error
        return int(runner.addresses[0][1])

    async def _runtime(self, settings: Settings, old: Mapping[str, Upstream]) -> Runtime:
        """The parts that the settings describe.

        Raises:
            ReloadError: an upstream can't be made, or a package is missing; with what is wrong with the settings.
        """
        pricing = _pricing(settings.prices)
        upstreams: dict[str, Upstream] = {}
        try:
            for name, upstream in settings.upstreams.items():
                upstreams[name] = _upstream(name, upstream, old.get(name))
        except OSError as error:  # ssl.SSLError is one: a file that is there, but has no certificate in it
            for made in set(upstreams.values()) - set(old.values()):
                await made.close()
            why = f"upstreams.{name}.ca_file has no certificates in PEM form that can be used"
            raise ReloadError([f"{why} ({type(error).__name__})"]) from error
        models = {route.model for route in settings.routes if route.model} | pricing.models
        expect(self.engine.metrics, settings, models)
        return Runtime(settings, upstreams, DIALECTS, pricing)

    async def _budgets(self, settings: Settings) -> Prepared:
        """The budgets, with what was used of them so far.

        Raises:
            ReloadError: the ledger, which has that, can't be read.
        """
        try:
            return await self.engine.budgets.prepare(settings.budgets, lambda: self.engine.registry)
        except LedgerUnavailableError as error:
            raise ReloadError([f"budgets: what was used of them so far is not known: {error}"]) from error

    def _encoding_of(self, upstream: str) -> EncodingSetting:
        found = self.gateway.runtime.settings.upstreams.get(upstream)
        return AUTO if found is None else found.encoding

    def _price_of(self, record: Record) -> Priced:
        runtime = self.gateway.runtime
        found = runtime.settings.upstreams.get(record.upstream)
        return runtime.pricing.price_left(record, "" if found is None else found.base_url)

    def _left_settled(self, before: Record, after: Record) -> None:
        self.engine.budgets.count_left(before, after)
        self.engine.metrics.left_settled(after)

    async def _close_upstreams(self) -> None:
        for upstream in self.gateway.runtime.upstreams.values():
            await upstream.close()

    def _ready(self) -> dict[str, bool]:
        return {
            "config": True,
            "ledger": self.engine.ledger.healthy,
            "tokenizer": self._warm,
            "not_draining": not self._draining,
            **({} if self._among is None else {"workers": self._among.have_all_come_up()}),
        }

    async def reload(self) -> list[str]:
        """Take new settings as a whole or not at all; what runs keeps its old route. Gives what needs a restart.

        Raises:
            ReloadError: there is something wrong with the new settings, the old ones stay.
        """
        async with self._reloading:
            return await self._reload()

    async def _reload_all(self) -> list[str]:
        """The same for an operator, who means the other workers too."""
        waiting = await self.reload()
        if self._among is not None:
            self._among.has_reloaded()
        return waiting

    async def _reload(self) -> list[str]:
        metrics = self.engine.metrics
        try:
            settings = await asyncio.to_thread(read_again, self._reread)  # a new vocabulary takes its time
            await self._counter.warm(_encodings(settings))
            budgets = await self._budgets(settings)
            old = self.gateway.runtime
            self.gateway.runtime = await self._runtime(settings, old.upstreams)
        except ReloadError as error:
            metrics.reload_success.set(0)
            log.warning("config.rejected", problems=error.problems)
            raise
        self.engine.budgets.hold(budgets)
        kept = set(self.gateway.runtime.upstreams.values())
        for upstream in set(old.upstreams.values()) - kept:
            self.tasks.start(self._retire(upstream), f"retire {upstream.name}")
        self.sink.configure(settings.sink)
        metrics.reload_success.set(1)
        running = kept_until_restart(self._settings, settings)
        waiting = [key for key in NEEDS_RESTART if getattr(settings, key) != running[key]]
        self.gateway.runtime.needs_restart = tuple(waiting)
        log.info("config.reloaded", needs_restart=waiting)
        return waiting

    async def _retire(self, upstream: Upstream) -> None:
        """Close an upstream that the settings no longer have, once nothing uses it."""
        await upstream.unused()
        await upstream.close()

    async def stop(self, *, drain: bool, hurry: asyncio.Event | None = None) -> int:
        """End: not ready at once, after `ready_delay` no new work, after `drain.timeout` what runs is stopped.

        Gives how many had to be stopped.

        Args:
            drain: give running work its time; else it is stopped at once.
            hurry: when set, stop waiting; the ledger is flushed all the same.
        """
        self._draining = True
        self.engine.metrics.live.draining.set(1)
        self._front.see_off()
        rules = self.gateway.runtime.settings.drain
        if drain:
            await _unless(hurry, rules.ready_delay)
        self.engine.draining = True
        if self._settings.bus.url is None:
            self.engine.expect_nobody()
        if drain:
            await self._drain(rules.timeout, hurry)
        stopped = self.engine.stop_all()
        try:
            await self._finish()
        finally:  # a connection that stays open would keep the process alive
            await self._stack.aclose()
        return stopped

    async def _finish(self) -> None:
        """Give what has ended its time to be settled, and to get out."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SETTLE_SECONDS):
                await self.engine.settle_all()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SINK_SECONDS):
                await self.sink.caught_up()
        if self.forwarding is not None:
            await self.forwarding.finish(SINK_SECONDS)

    async def _last_of_all(self) -> None:
        """The ledger is closed: what still waited for it gives up now, and nothing needs the tapes any more."""
        await self.engine.settle_all()
        self.engine.close()

    async def _all_ended(self) -> None:
        """Wait for generations, and for what is passed through without being one."""
        await self.engine.settle_all()
        for upstream in self.gateway.runtime.upstreams.values():
            await upstream.unused()

    async def _drain(self, seconds: float, hurry: asyncio.Event | None) -> None:
        ended = self.tasks.start(self._all_ended(), "wait for what runs")
        hurried = self.tasks.start(_unless(hurry, seconds), "wait for hurry")
        await asyncio.wait({ended, hurried}, return_when=asyncio.FIRST_COMPLETED)
        for task in (ended, hurried):
            task.cancel()


async def _unless(hurry: asyncio.Event | None, seconds: float) -> None:
    """Wait for `seconds`, or until somebody is in a hurry."""
    try:
        async with asyncio.timeout(seconds):
            await (hurry or asyncio.Event()).wait()
    except TimeoutError:
        return


def kept_until_restart(running: Settings, fresh: Settings) -> dict[str, Any]:
    """The sections of new settings that only a restart takes, as they are until then."""
    kept = {key: getattr(running, key) for key in NEEDS_RESTART}
    kept["admin"] = running.admin.model_copy(update={"tokens": fresh.admin.tokens})  # these come and go with a reload
    return kept


def read_again(reread: Reload | None) -> Settings:
    """New settings, as whole as at the start.

    Raises:
        ReloadError: there is no file to read, or something is wrong with what it says.
    """
    if reread is None:
        raise ReloadError(["started without a config file, so there is nothing to reload"])
    return reread()


def no_listening(address: Address, error: OSError, where: str) -> StartError:
    """Why there is no listening on an address, and what to do; `where` it is set."""
    why = os.strerror(error.errno) if error.errno else str(error)
    stop = "Stop what uses it, or set" if error.errno == errno.EADDRINUSE else "Set"
    return StartError(f"can't listen on {address} ({why.lower()}). {stop} another address: {where}")


async def _lives(bus: Bus, replica: str) -> bool:
    """Whether the bus takes a replica for alive; without the bus nobody knows."""
    try:
        return not await bus.is_dead(replica)
    except BusUnavailableError:
        return False


def replica_name(settings: Settings) -> str:
    """This replica's name. Among several none may have another's, be it on the same machine."""
    if settings.replica != "auto":
        return settings.replica
    host = socket.gethostname()
    alone = settings.bus.url is None and not settings.ledger.is_shared
    return host if alone else f"{host[:HOST_MOST]}-{urandom(4).hex()}"


def _encodings(settings: Settings) -> list[str]:
    """The vocabularies that the settings name, to be loaded before they are needed."""
    named = [each for upstream in settings.upstreams.values() for each in each_encoding(upstream.encoding)]
    return [each for each in named if each != AUTO]


def _upstream(name: str, settings: UpstreamSettings, old: Upstream | None) -> Upstream:
    """The upstream of these settings; one that did not change keeps its connections and its slots."""
    return old if old is not None and old.settings == settings else Upstream(name, settings)


def _pricing(settings: PricesSettings) -> Pricing:
    """The prices of these settings.

    Raises:
        ReloadError: the package with the fallback's prices is not installed.
    """
    table = settings.table
    try:
        fallback = GenaiPrices() if settings.fallback == "genai-prices" else None
    except ImportError as error:
        raise ReloadError([NOT_INSTALLED]) from error
    if table is not None:
        log.info("prices.read", version=table.version, currency=table.currency, entries=len(table.entries))
    return Pricing(settings.currency, table, fallback)
