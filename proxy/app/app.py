"""A running proxy: builds the parts, wires them in order, listens, and unwinds them in reverse."""

import asyncio
import time
from contextlib import AsyncExitStack
from typing import Final

from proxy.app.among import Among
from proxy.app.building import build_runtime, encodings, prepare_budgets
from proxy.app.drain import finish, unless, wait_for_what_runs
from proxy.app.errors import StartError
from proxy.app.joining import join, replica_name
from proxy.app.left import settle_left
from proxy.app.listening import listen, place_of
from proxy.app.opening import Opened, open_named
from proxy.app.reload import Reloader, Reread
from proxy.core.settings.settings import Address, Settings
from proxy.edge.admin.errors import ReloadError
from proxy.edge.admin.listener import make_admin_runner
from proxy.edge.admin.playground import SeenByDemo
from proxy.edge.admin.sessions import Sessions, digest_of
from proxy.edge.admin.token import admin_token
from proxy.edge.gateway import Gateway
from proxy.edge.server import QuellRunner, make_runner
from proxy.edge.tracing import Tracing, TracingError, start_tracing
from proxy.engine.engine import Engine
from proxy.engine.replicas.cluster import Cluster
from proxy.engine.settling.counting import Counter
from proxy.engine.settling.forwarding import Forwarding
from proxy.engine.settling.sink import Sink
from proxy.engine.tasks import Tasks
from proxy.engine.telemetry.metrics import Metrics
from proxy.stores.ledger.port import Ledger

GOODBYE_SECONDS: Final = 2.0
"""How long readers that lag may go on reading after everything has ended; aiohttp takes this time twice."""


class App:
    """A running proxy."""

    def __init__(
        self,
        settings: Settings,
        reread: Reread | None,
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
        self._reloader: Reloader
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
        try:
            await self._open(ledger)
        except BaseException:
            await self._stack.aclose()
            raise

    async def _open(self, ledger: Ledger | None) -> None:
        settings = self._settings
        self.replica = replica_name(settings)
        opened = await open_named(settings, self.replica) if ledger is None else Opened(ledger)
        await self._build(opened)
        self.cluster = await join(settings, self.engine, self.gateway, opened.shared, self._stack)
        self._stack.push_async_callback(self.tasks.cancel)
        warming = self._start_tasks()
        await self.engine.learn()
        await self._listen()
        settling = settle_left(opened.left, self.engine, self.gateway, self._counter, self.forwarding)
        self.tasks.start(settling, "settle what was left")
        await warming  # a stop in the first second would wait for it
        self._warm = True

    async def _build(self, opened: Opened) -> None:
        settings, ledger, left = self._settings, opened.ledger, opened.left
        self._stack.push_async_callback(self._end_tracing)
        self._stack.push_async_callback(self._last_of_all)
        self._stack.push_async_callback(ledger.close)
        self._counter = counter = Counter()
        self._stack.push_async_callback(counter.aclose)
        metrics = Metrics(settings.observability.metrics.max_series)
        metrics.interrupted(left.interrupted)
        metrics.left_stopped(left.stopped)
        self.interrupted = len(left.interrupted)
        self.engine = engine = Engine(ledger, counter, metrics, self.replica)
        self._trace()
        self._stack.push_async_callback(engine.sweeper.end_chores)
        self.sink = Sink(ledger.outbox, metrics, settings.sink)
        self.forwarding = None if opened.shared is None else Forwarding(opened.shared, metrics)
        try:
            budgets = await prepare_budgets(settings, engine)
            runtime = await build_runtime(settings, {}, metrics)
        except ReloadError as error:
            raise StartError(str(error)) from error
        self._stack.push_async_callback(self._close_upstreams)
        engine.budgets.hold(budgets)
        self.gateway = Gateway(engine, runtime)
        self._reloader = Reloader(settings, engine, self.gateway, counter, self.sink, self.tasks)

    def _trace(self) -> None:
        try:
            self._tracing = start_tracing(self._settings.observability.otel, self.engine, self.replica)
        except TracingError as error:
            raise StartError(str(error)) from error

    async def _end_tracing(self) -> None:
        """Behind the ledger: who looks on must not keep it from being closed in time."""
        if self._tracing is not None:
            await self._tracing.close()

    def _start_tasks(self) -> "asyncio.Task[None]":
        """Start what goes on all the time; gives the task that loads the vocabularies, which ends."""
        warming = self.tasks.start(self._counter.warm(encodings(self._settings)), "warm the tokenizer")
        self.tasks.start(self.engine.sweeper.sweep_forever(self._settings.ledger.flush), "sweep")
        self.tasks.start(self.sink.serve_forever(), "serve the sink")
        self.tasks.start(self.engine.memory.give_back_forever(), "give memory back")
        if self.forwarding is not None:
            self.tasks.start(self.forwarding.forward_forever(), "forward the ledger")
        return warming

    async def _listen(self) -> None:
        settings, in_file = self._settings, self._reread is not None
        handle = self.gateway.handle if self._tracing is None else self._tracing.around(self.gateway)
        self._front = make_runner(handle, settings.limits, shutdown_timeout=GOODBYE_SECONDS)
        where, shared = place_of("listen", in_file=in_file), self._among is not None
        self.port = await listen(self._front, settings.listen, where, self._stack, shared=shared)
        self._admin_token = admin_token(settings)
        admin = make_admin_runner(
            self.engine,
            lambda: self.gateway.runtime,
            token=self._admin_token,
            reload=self._reload_all,
            ready=self._ready,
            sessions=self._sessions,
            own=self._own_addresses,
            demo=self._demo,
        )
        where = place_of("admin.listen", in_file=in_file)
        self.admin_port = await listen(admin, settings.admin.listen, where, self._stack)

    def _own_addresses(self) -> list[Address]:
        """Where the proxy listens: a host name may stand for several."""
        return [Address(str(host), int(port)) for host, port, *_ in self._front.addresses]

    def make_login_code(self) -> str:
        """A code that lets somebody into the page once, soon, as the holder of the main token."""
        return self._sessions.make_code(digest_of(self._admin_token))

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
        return await self._reloader.reload(self._reread)

    async def _reload_all(self) -> list[str]:
        """The same for an operator, who means the other workers too."""
        waiting = await self.reload()
        if self._among is not None:
            self._among.has_reloaded()
        return waiting

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
            await unless(hurry, rules.ready_delay)
        self.engine.draining = True
        if self._settings.bus.url is None:
            self.engine.expect_nobody()
        if drain:
            await wait_for_what_runs(self.engine, self.gateway, self.tasks, rules.timeout, hurry)
        stopped = self.engine.stop_all()
        try:
            await finish(self.engine, self.sink, self.forwarding)
        finally:  # a connection that stays open would keep the process alive
            await self._stack.aclose()
        return stopped

    async def _close_upstreams(self) -> None:
        for upstream in self.gateway.runtime.upstreams.values():
            await upstream.close()

    async def _last_of_all(self) -> None:
        """The ledger is closed: what still waited for it gives up now, and nothing needs the tapes any more."""
        await self.engine.settle_all()
        self.engine.close()
