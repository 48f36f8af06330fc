"""Floor 4: the commands. One file per command, one line here for each, loaded when it is called.

A probe that runs every few seconds must not load a database library first.
"""

from typing import Final

import click

from proxy import __version__
from proxy.cli.lazy import LazyGroup

COMMANDS: Final = {
    "serve": "proxy.cli.serve:serve",
    "run": "proxy.cli.serve:run_command",
    "demo": "proxy.cli.serve:demo",
    "init": "proxy.cli.init:init",
    "check": "proxy.cli.check:check",
    "schema": "proxy.cli.schema:schema",
    "ps": "proxy.cli.ps:ps",
    "top": "proxy.cli.top.command:top",
    "stop": "proxy.cli.stop:stop",
    "tail": "proxy.cli.tail:tail",
    "usage": "proxy.cli.usage:usage",
    "ledger": "proxy.cli.ledger:ledger",
    "health": "proxy.cli.health:health",
    "doctor": "proxy.cli.doctor.command:doctor",
    "completion": "proxy.cli.completion:completion",
    "version": "proxy.cli.version:version",
}


@click.group(cls=LazyGroup, places=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="quell")
def main() -> None:
    """Quell: a reverse proxy in front of LLM APIs with a stop that truly stops."""
