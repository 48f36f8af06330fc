"""Floor 4: the commands. One file per command, one line here for each."""

import click

from proxy import __version__
from proxy.cli.check import check
from proxy.cli.init import init
from proxy.cli.schema import schema
from proxy.cli.serve import demo, run_command, serve


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="quell")
def main() -> None:
    """Quell: a reverse proxy in front of LLM APIs with a stop that truly stops."""


for command in (serve, run_command, demo, init, check, schema):
    main.add_command(command)
