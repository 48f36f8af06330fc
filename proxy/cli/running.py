"""Running the proxy as a process: event loop, signals, banner, exit."""

import asyncio
import gc
import os
import resource
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass

import click

from proxy import __version__
from proxy.app import App, Reload, StartError
from proxy.cli.terminal import tell_of_drain, tell_of_end, tell_of_last_run
from proxy.core.settings import Address, RouteSettings, Settings
from proxy.demo.calls import DemoCall
from proxy.demo.upstream import DemoUpstream, start_demo_upstream
from proxy.edge.admin_errors import AdminTokenError, ReloadError
from proxy.engine.failures import log_failure
from proxy.stores.ledger_errors import LedgerLockedError, LedgerOpenError

GC_THRESHOLDS = (20_000, 20, 20)
"""Streams make much that lives for a while: with Python's own 700 its collector takes a tenth of the CPU."""

OTHER_FOLDER = "without a config file the ledger is quell.db in the folder one starts in, so another folder will do too"

TRY_IT = """\
  try it:   curl -N {base}/chat/completions -H 'Content-Type: application/json'{key} \\
              -H 'X-Task-Id: try-1' \\
              -d '{{"model":"{model}","stream":true,"messages":[{{"role":"user","content":"Tell me a long story."}}]}}'
  stop it:  curl -X POST {base}/generations/try-1/cancel{key}
"""


@dataclass(frozen=True, slots=True)
class Job:
    """What to run: the settings, how to read them again, and whether a demo upstream belongs to it."""

    settings: Settings
    reread: Reload | None = None
    demo: Address | None = None
    model: str = "gpt-4o-mini"


def run(job: Job) -> None:
    """Run until a signal ends it; leaves the process with an exit code."""
    _raise_file_limit()
    try:
        factory = _loop_factory()
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(_serve(job))
    except (StartError, AdminTokenError, LedgerOpenError, LedgerLockedError) as error:
        for line in str(error).splitlines():
            click.echo(f"quell: {line}", err=True)
        if isinstance(error, LedgerLockedError) and job.reread is None:
            click.echo(f"quell: {OTHER_FOLDER}", err=True)
        sys.exit(1)


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
        app = App(job.settings if demo is None else _in_front_of(demo, job.settings), job.reread)
        await app.start()
        settle_memory()
        click.echo(_banner(app, job, demo), err=True)
        tell_of_last_run(app)
        await _until_told(app)
    finally:
        if demo is not None:
            await demo.stop()


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
    upstreams = {name: up.model_copy(update={"base_url": demo.base_url}) for name, up in settings.upstreams.items()}
    return settings.model_copy(update={"upstreams": upstreams})


def _report_close(call: DemoCall) -> None:
    click.echo(f"  upstream: {call}", err=True)


async def _until_told(app: App) -> None:
    """Wait for a signal: SIGHUP reloads, the first SIGTERM or SIGINT drains, the second ends at once."""
    loop = asyncio.get_running_loop()
    told, hurry = asyncio.Event(), asyncio.Event()
    reloads: asyncio.Queue[None] = asyncio.Queue()

    def tell() -> None:
        (hurry if told.is_set() else told).set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, tell)
    loop.add_signal_handler(signal.SIGHUP, reloads.put_nowait, None)
    reloader = app.tasks.start(_reload_when_told(app, reloads), "reload on SIGHUP")
    await told.wait()
    reloader.cancel()
    tell_of_drain(app)
    tell_of_end(await app.stop(drain=True, hurry=hurry))


async def _reload_when_told(app: App, reloads: "asyncio.Queue[None]") -> None:
    while True:
        await reloads.get()
        try:
            waiting = await app.reload()
        except ReloadError as error:
            click.echo(f"quell: the new settings are not taken, the old ones stay:\n{error}", err=True)
        except Exception as error:  # noqa: BLE001 the next SIGHUP must still be heard
            log_failure("reload.failed", error)
            click.echo("quell: the reload failed, the old settings stay; the log says where", err=True)
        else:
            rest = f"; a restart is needed for: {', '.join(waiting)}" if waiting else ""
            click.echo(f"quell: the settings were reloaded{rest}", err=True)


def _banner(app: App, job: Job, demo: DemoUpstream | None) -> str:
    settings = app.gateway.runtime.settings
    origin = f"http://{_reachable(settings.listen.host)}:{app.port}"
    first = next((route for route in settings.routes if "openai" in route.dialects), None)
    shown = first or settings.routes[0]
    lines = [f"quell {__version__}"]
    if demo is not None:
        lines.append(f"  demo upstream {demo.base_url} (answers by itself: no key, no network)")
    lines.append(f"  proxy     {origin}{_served(shown)}   <- the base_url of your client")
    lines += [f"            {origin}{_served(route)}" for route in settings.routes if route is not shown]
    lines.append(f"  operator  http://{_reachable(settings.admin.listen.host)}:{app.admin_port}/metrics")
    key = " -H 'Authorization: Bearer YOUR_KEY'" if settings.keys else ""
    try_it = "" if first is None else TRY_IT.format(base=f"{origin}{first.path.rstrip('/')}", key=key, model=job.model)
    return "\n".join([*lines, try_it])


def _served(route: RouteSettings) -> str:
    """A route's path, and what it speaks."""
    emulates = "openai" in route.dialects and route.responses == "emulate"
    speaks = ", ".join(route.dialects) + (" with responses: emulate" if emulates else "")
    return f"{route.path.rstrip('/')}   {speaks}"


def _reachable(host: str) -> str:
    """The host part of an address that works from here."""
    if host in {"0.0.0.0", "::"}:  # noqa: S104 nothing is bound here
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host
