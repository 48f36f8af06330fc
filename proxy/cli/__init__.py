"""Floor 4: the commands. One file per command, one line here for each, loaded when it is called.

A probe that runs every few seconds must not load a database library first.
"""

from importlib import import_module
from typing import Final

import click

from proxy import __version__

COMMANDS: Final = {
    "serve": "proxy.cli.serve:serve",
    "run": "proxy.cli.serve:run_command",
    "demo": "proxy.cli.serve:demo",
    "init": "proxy.cli.init:init",
    "check": "proxy.cli.check:check",
    "schema": "proxy.cli.schema:schema",
    "ps": "proxy.cli.ps:ps",
    "stop": "proxy.cli.stop:stop",
    "tail": "proxy.cli.tail:tail",
    "usage": "proxy.cli.usage:usage",
    "health": "proxy.cli.health:health",
    "version": "proxy.cli.version:version",
}


class Commands(click.Group):
    """The commands by name, in the order in which one meets them."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 click's signature
        """Every command's name."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 click's signature
        """Load one command."""
        place = COMMANDS.get(cmd_name)
        if place is None:
            return None
        module, _, name = place.partition(":")
        command: click.Command = getattr(import_module(module), name)
        return command


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="quell")
def main() -> None:
    """Quell: a reverse proxy in front of LLM APIs with a stop that truly stops."""
