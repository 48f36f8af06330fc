"""`quell serve`, `quell run`, `quell demo`: the three ways to start the proxy."""

import os
import sys
from pathlib import Path

import click

from proxy.cli.by_hand import by_hand, listens, warn_of_strangers
from proxy.cli.demo_settings import MODEL, demo_place, demo_settings
from proxy.cli.logs import set_up_log
from proxy.cli.running import Job, run
from proxy.cli.workers import run_workers
from proxy.config_file import EnvironmentSettingsError, Loaded, load, load_env, render
from proxy.core.settings.settings import Address, LogSettings, Settings
from proxy.edge.admin.errors import ReloadError


def _read(path: Path) -> Loaded:
    return load(path, os.environ)


def _settings(loaded: Loaded) -> Settings:
    """The settings of a valid file.

    Raises:
        ReloadError: one line per problem.
    """
    if loaded.settings is None or loaded.problems:
        raise ReloadError(render(loaded.problems))
    return loaded.settings


@click.command()
@click.option("-c", "--config", "path", required=True, type=click.Path(path_type=Path), help="The config file.")
def serve(path: Path) -> None:
    """Run the proxy that a config file describes."""
    loaded = _read(path)
    try:
        settings = _settings(loaded)
    except ReloadError as error:
        click.echo("\n".join(error.problems), err=True)
        sys.exit(1)
    for warning in loaded.warnings:
        click.echo(f"warning: {warning}", err=True)
    set_up_log(settings.observability.log)
    job = Job(settings, reread=lambda: _settings(_read(path)))
    run(job) if settings.workers == 1 else run_workers(job)


@click.command(name="run", short_help="Run the proxy without a file, by OPENAI_API_KEY.")
@listens
def run_command(listen: Address, admin_listen: Address) -> None:
    """Run the proxy in front of OPENAI_BASE_URL, with OPENAI_API_KEY; no file needed."""
    try:
        settings = load_env(os.environ)
    except EnvironmentSettingsError as error:
        click.echo(f"quell: {error}", err=True)
        sys.exit(1)
    settings = by_hand(settings, listen, admin_listen)
    warn_of_strangers(settings)
    set_up_log(LogSettings())
    run(Job(settings))


@click.command(short_help="Run the proxy with a demo upstream: no key, no network.")
@listens
def demo(listen: Address, admin_listen: Address) -> None:
    """Run the proxy with a demo upstream, which answers by itself and reports when it saw each close."""
    settings = by_hand(demo_settings(os.environ), listen, admin_listen)
    warn_of_strangers(settings)
    set_up_log(LogSettings())
    run(Job(settings, demo=demo_place(settings), model=MODEL))
