"""`quell version`: what runs here."""

import platform
from importlib.metadata import version as version_of

import click

from proxy import __version__
from proxy.cli.output import show_json


@click.command()
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="How to print it.")
def version(output: str) -> None:
    """Print the version, and those of what it stands on."""
    python, aiohttp = platform.python_version(), version_of("aiohttp")
    if output == "json":
        show_json({"quell": __version__, "python": python, "aiohttp": aiohttp})
    else:
        click.echo(f"quell {__version__} (Python {python}, aiohttp {aiohttp})")
