"""Starting the proxy by hand, without a config file: its addresses as options, and a quick end."""

from collections.abc import Callable
from typing import Any, Final

import click

from proxy.config_file.cross_checks import NO_KEYS
from proxy.core.called import called
from proxy.core.settings.origin import Place
from proxy.core.settings.scalar_types import parse_address
from proxy.core.settings.settings import Address, Settings


class _HostPort(click.ParamType[Address]):
    """HOST:PORT, as in the config file."""

    name = "HOST:PORT"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Address:
        """The address; click says what is wrong with any other text."""
        try:
            return value if isinstance(value, Address) else parse_address(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


HOST_PORT: Final = _HostPort()


def listens(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options `--listen` and `--admin-listen`.

    A config file that lets others reach the admin listener must name its token. Here nothing could name one, and the
    address was typed by whoever can read the token that is made: that one holds, and the banner says where it is.
    """
    known = Settings.model_fields
    proxy, admin = known["listen"].default, known["admin"].default.listen
    command = click.option("--admin-listen", type=HOST_PORT, default=admin, show_default=True, help="For operators.")(
        command
    )
    return click.option("--listen", type=HOST_PORT, default=proxy, show_default=True, help="For callers.")(command)


def by_hand(settings: Settings, listen: Address, admin_listen: Address) -> Settings:
    """The same on these addresses; no balancer has to turn away from it before it ends.

    Raises:
        click.UsageError: both are one and the same.
    """
    if listen == admin_listen and listen.port:
        raise click.UsageError(f"--listen and --admin-listen are both {listen}; each needs its own address")
    usual = Settings.model_fields
    given: list[Place] = []
    if listen != usual["listen"].default:
        given.append(("listen",))
    if admin_listen != usual["admin"].default.listen:
        given.append(("admin", "listen"))
    changes = {
        "listen": listen,
        "admin": settings.admin.model_copy(update={"listen": admin_listen}),
        "drain": settings.drain.model_copy(update={"ready_delay": 0.0}),
    }
    origin = settings.origin.with_others("command line", *given)
    return settings.model_copy(update=changes).coming_from(origin)


def warn_of_strangers(settings: Settings) -> None:
    """Say on standard error, as a start by a file does, that others can call it; without a file there are no keys."""
    if not settings.listen.is_loopback:
        click.echo(f"warning: --listen: {NO_KEYS}; keys take a config file, which {called()} init writes", err=True)
