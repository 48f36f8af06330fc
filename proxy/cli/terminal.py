"""What the running program tells whoever sits at its terminal, and the log: how the last run ended, how this one ends.

The log has each of these as a line of its own; in words they stand on a terminal only.
"""

import sys

import click
import structlog

from proxy.app import App

log = structlog.get_logger()


def tell_of_last_run(app: App) -> None:
    """The last process died: say how many generations that has cut short; nothing if none."""
    if not app.interrupted:
        return
    log.warning("ledger.interrupted", generations=app.interrupted)
    kept = "records" if app.gateway.runtime.settings.ledger.text == "none" else "partials"
    _say(f"{app.interrupted} generations were running when the process died; their {kept} are kept")


def tell_of_drain(app: App) -> None:
    """The first signal has come: say what is waited for, and for how long."""
    running, rules = len(app.engine.registry), app.gateway.runtime.settings.drain
    log.info("drain.begun", running=running, ready_delay=rules.ready_delay, timeout=rules.timeout)
    first = f"new work is taken for {rules.ready_delay:g} s more; then " if rules.ready_delay else ""
    _say(f"draining: {first}{running} run, up to {rules.timeout:g} s; Ctrl-C again ends at once")


def tell_of_hurry(app: App) -> None:
    """The second signal has come: what still runs is stopped at once."""
    running = len(app.engine.registry)
    log.warning("drain.hurried", running=running)
    _say(f"ending at once: what runs ({running}) is stopped, its partials are kept")


def tell_of_end(stopped: int) -> None:
    """Everything has ended: say how many had to be stopped for it."""
    log.info("drain.ended", stopped=stopped)
    _say(f"drained: {stopped} stopped, their partials are kept" if stopped else "drained: nothing had to be stopped")


def _say(words: str) -> None:
    if sys.stderr.isatty():
        click.echo(f"quell: {words}", err=True)
