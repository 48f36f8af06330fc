"""`quell init`: the smallest config file, to start from."""

import shlex
from pathlib import Path

import click

from proxy.core.called import called

SMALLEST = """\
version: 1
upstreams:
  openai:
    base_url: https://api.openai.com/v1
    api_key: ${OPENAI_API_KEY}
routes:
  - path: /v1
    dialect: openai
    upstream: openai
"""


@click.command(short_help="Write the smallest config file.")
@click.argument("file", type=click.Path(path_type=Path), default=Path("quell.yaml"))
def init(file: Path) -> None:
    """Write the smallest config file (default: quell.yaml); an existing file is never touched."""
    try:
        with file.open("x", encoding="utf-8") as new:
            new.write(SMALLEST)
    except FileExistsError:
        raise click.ClickException(f"{file} is there already and stays as it is; name another file") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a file's name"
        raise click.ClickException(f"{file} can't be written: {reason}") from None
    click.echo(f"wrote {file}. Next:")
    click.echo("  export OPENAI_API_KEY=...           # or change upstreams in the file")
    name = shlex.quote(str(file))
    click.echo(f"  {called()} check {name}")
    click.echo(f"  {called()} serve --config {name}")
