"""Which file is the ledger: the one that is named, the config file's, or the default one."""

import functools
import os
from collections.abc import Callable
from dataclasses import dataclass
from glob import escape
from pathlib import Path
from typing import Any, Final

import click

from proxy.cli.admin_client import CommandError, Exit
from proxy.cli.admin_config import AdminConfig, AdminConfigError, read_admin_config
from proxy.core.settings.settings import LedgerSettings, Settings
from proxy.core.settings.worker import worker_ledger
from proxy.stores.ledger.errors import LedgerOpenError
from proxy.stores.ledger.place import path_of

MOST_LOOKED_FOR: Final = 100
"""Files of so many workers are looked for."""


@dataclass(frozen=True, slots=True)
class LedgerPlace:
    """The ledger's file, and what the config file says of it and of a sink; None without one."""

    path: Path
    settings: LedgerSettings | None
    config: Path | None
    has_sink: bool | None


def takes_ledger(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the argument `PATH` and the option `--config`, and as its argument the place they mean."""

    @functools.wraps(command)
    def with_place(*, path: Path | None, config: Path | None, **arguments: Any) -> None:
        command(find_ledger(path, config), **arguments)

    argument = click.argument("path", type=click.Path(path_type=Path), required=False)
    option = click.option(
        "--config", "-c", type=click.Path(path_type=Path), help="Take the ledger of the proxy's config file."
    )
    decorated: Callable[..., None] = argument(option(with_place))
    return decorated


def find_ledger(path: Path | None, config: Path | None) -> LedgerPlace:
    """The ledger that is meant; one of a relative `ledger.url` is looked for here, then beside the config file.

    Raises:
        CommandError: there is none, or both were given.
    """
    if path is not None and config is not None:
        raise CommandError("give the ledger's file or --config, not both")
    if path is not None and str(path).startswith("postgresql:"):
        raise CommandError(
            "this looks at a file: name the spool's of a proxy (ledger.spool). What is in PostgreSQL a running proxy "
            "shows: quell usage, quell ledger export, quell ledger drift"
        )
    configured = None if config is None else _configured(config)
    settings = None if configured is None else configured.ledger
    places = [path] if path is not None else _places((settings or LedgerSettings()).file_url, config)
    for place in places:
        if place.is_file():
            return LedgerPlace(place, settings, config, None if configured is None else configured.has_sink)
    if found := sorted({name for place in places for name in _of_workers(place)}):
        raise CommandError(f"each worker has a ledger: name one of {', '.join(found)}", Exit.NOT_FOUND)
    looked = " and ".join(map(str, dict.fromkeys(places)))
    raise CommandError(f"no ledger: looked for {looked}. Name its file, or give --config", Exit.NOT_FOUND)


def _configured(config: Path) -> AdminConfig:
    try:
        return read_admin_config(config, os.environ)
    except AdminConfigError as error:
        raise CommandError(str(error)) from error


def _places(url: str, config: Path | None) -> list[Path]:
    try:
        here = path_of(url)
    except LedgerOpenError as error:
        raise CommandError(str(error)) from error
    return [here] if config is None else [here, config.absolute().parent / url.removeprefix("sqlite:///")]


def _of_workers(place: Path) -> list[str]:
    """The files that several workers have in its place."""
    return [each.name for each in place.parent.glob(f"{escape(place.stem)}-[0-9]*{escape(place.suffix)}")]


def files_left_alone(settings: Settings) -> list[str]:
    """The ledger's files of other numbers of workers: the one of a single process, and those of more."""
    others = [worker_ledger(settings.ledger, number) for number in range(settings.workers + 1, MOST_LOOKED_FOR)]
    paths = [path_of(each.file_url) for each in (settings.ledger, *others)]
    return [str(path) for path in paths if path.is_file()]
