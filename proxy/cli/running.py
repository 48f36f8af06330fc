"""Running the proxy as a process: event loop, signals, banner, exit."""

import asyncio
import gc
import os
import resource
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

import click

from proxy.app import App, StartError
from proxy.app.reload import Reread
from proxy.cli.banner import Page, banner
from proxy.cli.service_manager import tell_ending, tell_reloading, tell_serving
from proxy.cli.terminal import tell_of_drain, tell_of_end, tell_of_hurry, tell_of_last_run
from proxy.cli.worker import Membership
from proxy.core.settings.settings import Address, Settings
from proxy.demo.calls import DemoCall
from proxy.demo.upstream import DemoUpstream, start_demo_upstream
from proxy.edge.admin.errors import AdminTokenError, ReloadError
from proxy.engine.failures import log_failure
from proxy.stores.ledger.errors import LedgerLockedError, LedgerOpenError

GC_THRESHOLDS = (20_000, 20, 20)
"""Streams make much that lives for a while: with Python's own 700 its collector takes a tenth of the CPU."""

OTHER_FOLDER = "without a config file the ledger is quell.db in the folder one starts in, so another folder will do too"


@dataclass(frozen=True, slots=True)
class Job:
    """What to run: the settings, how to read them again, and whether a demo upstream belongs to it.

    `member`: this process is one worker of several.
    """

    settings: Settings
    reread: Reread | None = None
    demo: Address | None = None
    model: str = "gpt-4o-mini"
    member: Membership | None = None


def run(job: Job) -> None:
    """Run until a signal ends it; leaves the process with an exit code."""
    _raise_file_limit()
    try:
        factory = _loop_factory()
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(_serve(job))
    except (StartError, AdminTokenError, LedgerOpenError, LedgerLockedError) as error:
        tell_why_not(error)
        if isinstance(error, LedgerLockedError) and job.reread is None:
            click.echo(f"quell: {OTHER_FOLDER}", err=True)
        sys.exit(1)


def tell_why_not(error: Exception) -> None:
    """Say on standard error why there is no start."""
    for line in str(error).splitlines():
        click.echo(f"quell: {line}", err=True)


def _raise_file_limit() -> None:
    """Take as many open files as we may: each stream has two sockets, and the usual soft limit is for desktops."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop  # noqa: PLC0415 not there on Windows
    except ImportError:
        return None
    return uvloop.new_event_loop


async def _serve(job: Job) -> None:
    demo = await start_demo(job.demo)
    try:
        app = _app(job, demo)
        await app.start()
        settle_memory()
        code = app.make_login_code() if sys.stderr.isatty() else None  # it must not come to a file
        if job.member is None:
            settings, page = app.gateway.runtime.settings, Page(app.admin_port, code)
            click.echo(banner(settings, app.replica, app.port, [page], job.model, demo), err=True)
        else:
            job.member.came_up(app.port, app.admin_port, code)
        tell_of_last_run(app)
        await _until_told(app, job.member)
    finally:
        if demo is not None:
            await demo.stop()


def _app(job: Job, demo: DemoUpstream | None) -> App:
    if demo is None:
        return App(job.settings, job.reread, job.member)
    return App(_in_front_of(demo, job.settings), job.reread, job.member, demo.seen)


def settle_memory() -> None:
    """What was made until now stays for ever: it need not be searched for garbage again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


async def start_demo(address: Address | None) -> DemoUpstream | None:
    """Start the demo upstream there, or at a free port when that one is taken; None: there shall be none.

    Raises:
        StartError: it can't listen at all.
    """
    if address is None:
        return None
    try:
        try:
            return await start_demo_upstream(address.host, address.port, _report_close)
        except OSError:  # nobody needs to know its address beforehand
            return await start_demo_upstream(address.host, 0, _report_close)
    except OSError as error:
        why = os.strerror(error.errno or 0).lower()
        raise StartError(f"the demo upstream can't listen on {address.host} ({why})") from error


def _in_front_of(demo: DemoUpstream, settings: Settings) -> Settings:
    """The settings with every upstream where the demo upstream listens."""
    upstreams = {
        name: up.model_copy(update={"base_url": f"http://{demo.address}{urlsplit(up.base_url).path}"})
        for name, up in settings.upstreams.items()
    }
    return settings.model_copy(update={"upstreams": upstreams})


def _report_close(call: DemoCall) -> None:
    click.echo(f"  upstream: {call}", err=True)


async def _until_told(app: App, member: Membership | None) -> None:
    """Wait for a signal: SIGHUP reloads, the first SIGTERM or SIGINT drains, the second ends at once.

    A worker is told by its parent instead.
    """
    loop = asyncio.get_running_loop()
    told, hurry = asyncio.Event(), asyncio.Event()
    reloads: asyncio.Queue[None] = asyncio.Queue()

    def tell() -> None:
        (be_quick if told.is_set() else told.set)()

    def be_quick() -> None:
        if not hurry.is_set():
            hurry.set()
            tell_of_hurry(app)

    def reload() -> None:
        reloads.put_nowait(None)

    if member is not None:
        member.listen(told.set, be_quick, reload)
    else:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, tell)
        loop.add_signal_handler(signal.SIGHUP, reload)
    alone = member is None
    reloader = app.tasks.start(_reload_when_told(app, reloads, alone=alone), "reload on SIGHUP")
    if alone:
        tell_serving()  # not sooner: from now on it may be sent signals
    await told.wait()
    reloader.cancel()
    if alone:
        drain = app.gateway.runtime.settings.drain
        tell_ending(drain.ready_delay + drain.timeout)
    tell_of_drain(app)
    tell_of_end(await app.stop(drain=True, hurry=hurry))


async def _reload_when_told(app: App, reloads: "asyncio.Queue[None]", *, alone: bool) -> None:
    """Reload with each signal; `alone`: it came from the outside, where somebody may wait for the end of it."""
    while True:
        await reloads.get()
        if alone:
            tell_reloading()
        try:
            waiting = await app.reload()
        except ReloadError as error:
            tell_not_taken(error)
        except Exception as error:  # noqa: BLE001 the next SIGHUP must still be heard
            log_failure("reload.failed", error)
            click.echo("quell: the reload failed, the old settings stay; the log says where", err=True)
        else:
            rest = f"; a restart is needed for: {', '.join(waiting)}" if waiting else ""
            click.echo(f"quell: the settings were reloaded{rest}", err=True)
        if alone:
            tell_serving()


def tell_not_taken(error: ReloadError) -> None:
    """Say on standard error what is wrong with new settings."""
    click.echo(f"quell: the new settings are not taken, the old ones stay:\n{error}", err=True)
