"""`quell ledger recover`: save what can be read of a damaged ledger."""

import shlex
from dataclasses import asdict
from pathlib import Path

import click

from proxy.cli.admin_client import CommandError, tells_errors
from proxy.cli.output import say, show_json, show_table
from proxy.cli.progress import progress_bar
from proxy.core.called import called
from proxy.stores.ledger.errors import LedgerOpenError
from proxy.stores.ledger.recover import Recovered, recover_file

HEADS = ("TABLE", "SAVED", "LOST")


@click.command(short_help="Save what can be read of a damaged ledger.")
@click.argument("path", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--to", "new", type=click.Path(path_type=Path), required=True, metavar="NEW", help="The file to make.")
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", help="How to print it.")
@tells_errors
def recover(path: Path, new: Path, *, output: str) -> None:
    """Save what can be read of the damaged ledger at PATH into a new file. PATH itself is not changed."""
    try:
        with progress_bar("saving") as progress:
            found = recover_file(path, new, progress)
    except LedgerOpenError as error:
        raise CommandError(str(error)) from error
    if output == "json":
        show_json({"file": str(path), "to": str(new), **asdict(found)})
        return
    show_table(HEADS, [(each.table, each.saved, each.lost) for each in found.tables])
    _tell(path, new, found)


def _tell(path: Path, new: Path, found: Recovered) -> None:
    if found.unreadable:
        say(f"{found.unreadable} rows were found and could not be understood")
    say(f"saved into {new}. Look at it with: {called()} ledger verify {shlex.quote(str(new))}. Then put it in the")
    say(f"place of {path}, whose -wal and -shm must not stay beside it; the next start ends what ran as interrupted")
