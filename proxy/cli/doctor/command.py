"""`quell doctor`: does a Stop reach us through the front proxy, and how fast."""

import os
import sys
from pathlib import Path
from typing import Final

import click

from proxy.cli.admin_client import ADMIN_VARIABLE, DEFAULT_ADMIN, CommandError, tells_errors
from proxy.cli.admin_options import TOKEN_VARIABLE, make_client
from proxy.cli.doctor.examine import Examination, Wanted
from proxy.cli.doctor.front import Front
from proxy.cli.durations import DURATION
from proxy.cli.output import say
from proxy.cli.progress import progress_bar
from proxy.core.settings.scalar_types import parse_duration

KEY_VARIABLE: Final = "QUELL_KEY"


@click.command(short_help="See whether streams and stops get through a front.")
@click.argument("url")
@click.option("--route", help="The path of the route, such as /v1; else URL's own path, else the first that serves.")
@click.option("--model", help="The model to ask; by default the demo upstream's, or the only one there is.")
@click.option("--key", help=f"A caller's key. Others see what is typed: --key-file and ${KEY_VARIABLE} are better.")
@click.option("--key-file", type=click.Path(path_type=Path), help="Has a caller's key.")
@click.option("--ca-file", type=click.Path(path_type=Path), help="Certificates to trust in place of the system's.")
@click.option("--wait", type=DURATION, default="10s", show_default=True, help="How long something may take to arrive.")
@click.option("--silence", type=DURATION, help="Also see whether a silence so long is endured (demo upstream only).")
@click.option("--admin", metavar="URL", help=f"The admin listener, else ${ADMIN_VARIABLE}, else {DEFAULT_ADMIN}.")
@click.option("--token-file", type=click.Path(path_type=Path), help=f"Has the token, else ${TOKEN_VARIABLE}.")
@click.option("--config", "-c", type=click.Path(path_type=Path), help="Take both from the proxy's config file.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="How to print it.")
@click.option("-q", "--quiet", is_flag=True, help="Print only what is not ok.")
@tells_errors
def doctor(
    url: str,
    *,
    route: str | None,
    model: str | None,
    key: str | None,
    key_file: Path | None,
    ca_file: Path | None,
    wait: str,
    silence: str | None,
    admin: str | None,
    token_file: Path | None,
    config: Path | None,
    output: str,
    quiet: bool,
) -> None:
    """Stream, stop and leave through the front proxy at URL, and say what gets through, how fast, and what to change.

    It makes three short calls, and leaves none running. With the proxy's admin API it says what the proxy saw, without
    it what can be told from outside.

    Exit codes: 0 all gets through, 1 something does not, 3 no Quell or no such route there, 5 not allowed,
    6 a stop or a disconnect does not arrive.
    """
    if route is not None and not route.startswith("/"):
        raise click.UsageError("--route is a path such as /v1.")
    front = Front.at(url, _key(key, key_file), ca_file)
    wanted = Wanted(route, model, parse_duration(wait), None if silence is None else parse_duration(silence))
    client = make_client(admin, token_file, config)
    with progress_bar("examining") as progress:
        report = Examination(front, client, wanted, progress).run()
    if output == "json":
        report.show_json()
    else:
        report.show(quiet=quiet)
        if not quiet:
            say(report.conclusion())
    sys.exit(report.code)


def _key(key: str | None, key_file: Path | None) -> str | None:
    """The caller's key; None for a front that wants none.

    Raises:
        CommandError: the file can't be read, or it is no key.
    """
    if key is not None and key_file is not None:
        raise click.UsageError("Give --key or --key-file, not both.")
    if key_file is not None:
        try:
            key = key_file.read_text(encoding="utf-8").strip()
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "no text"
            raise CommandError(f"{key_file}: can't be read ({reason})") from error
    given = (key if key is not None else os.environ.get(KEY_VARIABLE, "")).strip()
    if not given.isascii() or not given.isprintable():
        raise CommandError("the caller's key has characters that no key has (printable ASCII is expected)")
    return given or None
