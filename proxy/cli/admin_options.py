"""The options of every command that talks to a running proxy: where it is, and with which token."""

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click

from proxy.cli.admin_client import ADMIN_VARIABLE, DEFAULT_ADMIN, AdminClient, CommandError, Exit, Token, tells_errors
from proxy.cli.admin_config import AdminConfig, AdminConfigError, read_admin_config
from proxy.core.settings.settings import Address, LedgerSettings
from proxy.edge.admin.errors import AdminTokenError
from proxy.edge.admin.token import read_token, token_path

TOKEN_VARIABLE: Final = "QUELL_ADMIN_TOKEN"  # noqa: S105 the name of a variable, no secret

_EVERYWHERE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 nothing is bound here


def talks_to_proxy(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options `--admin`, `--token-file` and `--config`, and as its argument the client they make."""

    @functools.wraps(command)
    @tells_errors
    def with_client(*, admin: str | None, token_file: Path | None, config: Path | None, **arguments: Any) -> None:
        command(make_client(admin, token_file, config), **arguments)

    options = (
        click.option(
            "--admin", metavar="URL", help=f"The admin listener, else ${ADMIN_VARIABLE}, else {DEFAULT_ADMIN}."
        ),
        click.option("--token-file", type=click.Path(path_type=Path), help=f"Has the token, else ${TOKEN_VARIABLE}."),
        click.option("--config", "-c", type=click.Path(path_type=Path), help="Take both from the proxy's config file."),
    )
    decorated: Callable[..., None] = with_client
    for option in reversed(options):
        decorated = option(decorated)
    return decorated


def make_client(admin: str | None, token_file: Path | None, config: Path | None) -> AdminClient:
    """The client that the options describe; what was typed goes before what the environment says.

    Raises:
        CommandError: the config file or the token's file can't be used.
    """
    try:
        found = None if config is None else read_admin_config(config, os.environ)
        url = admin or (_url(found.listen) if found else os.environ.get(ADMIN_VARIABLE) or DEFAULT_ADMIN)
        return AdminClient(url, _token(token_file, found, config))
    except AdminConfigError as error:
        raise CommandError(str(error)) from error
    except AdminTokenError as error:
        raise CommandError(str(error), Exit.NOT_ALLOWED) from error


def _url(listen: Address) -> str:
    if not listen.port:
        raise CommandError("admin.listen has port 0, so only the proxy's own log knows the address: give --admin")
    return f"http://{Address(_EVERYWHERE.get(listen.host, listen.host), listen.port)}"


def _token(token_file: Path | None, found: AdminConfig | None, config: Path | None) -> Token:
    if token_file is not None:
        return Token(read_token(token_file), str(token_file))
    if found is None:
        return _token_of_environment() or _token_beside(LedgerSettings().url, None)
    if found.token is not None:
        return Token(found.token, str(config))
    beside = _token_beside(found.ledger_url, None if config is None else config.absolute().parent)
    return beside if beside.value else _token_of_environment() or beside


def _token_of_environment() -> Token | None:
    given = os.environ.get(TOKEN_VARIABLE, "").strip()
    if not given:
        return None
    if not (given.isascii() and given.isprintable()) or " " in given:
        raise CommandError(f"${TOKEN_VARIABLE} holds no token (printable ASCII without blanks)", Exit.NOT_ALLOWED)
    return Token(given, f"${TOKEN_VARIABLE}")


def _token_beside(ledger_url: str, folder: Path | None) -> Token:
    """The token that the proxy made beside its ledger, whose name may be relative to where the proxy was started."""
    places = [token_path(ledger_url)]
    name = Path(ledger_url.removeprefix("sqlite:///"))
    if folder is not None and not name.is_absolute():
        places.append((folder / name).with_name(places[0].name))
    for place in places:
        if _is_file(place):
            return Token(read_token(place), str(place))
    return Token(None, " and ".join(dict.fromkeys(map(str, places))))


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # in a folder of somebody else
        return False
