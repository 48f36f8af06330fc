"""`quell version`: what runs here."""

import platform
from importlib.metadata import version as version_of

import click

from proxy import __version__


@click.command()
def version() -> None:
    """Print the version, and those of what it stands on."""
    below = f"Python {platform.python_version()}, aiohttp {version_of('aiohttp')}"
    click.echo(f"quell {__version__} ({below})")
