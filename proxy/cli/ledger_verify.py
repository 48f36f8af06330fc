"""`quell ledger verify`: does the ledger's file hold what it promises?"""

from dataclasses import asdict
from pathlib import Path

import click

from proxy.cli.admin_client import CommandError, Exit, tells_errors
from proxy.cli.ledger_place import LedgerPlace, takes_ledger
from proxy.cli.output import show_json, show_table
from proxy.cli.progress import progress_bar
from proxy.stores.ledger.errors import LedgerOpenError
from proxy.stores.ledger.verify import Verified, verify_file

HEADS = ("TASK", "RULE", "MEANING")


@click.command()
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", help="How to print it.")
@tells_errors
@takes_ledger
def verify(ledger: LedgerPlace, *, output: str) -> None:
    """Check every record of the ledger at PATH; the proxy may run. Exit code 0: all is well, 1: something is not."""
    try:
        with progress_bar("checking") as progress:
            text = "all" if ledger.settings is None else ledger.settings.text
            found = verify_file(ledger.path, text=text, progress=progress)
    except LedgerOpenError as error:
        raise CommandError(str(error)) from error
    if output == "json":
        show_json({"file": str(ledger.path), "valid": not found.findings, **asdict(found)})
    else:
        _print(ledger.path, found)
    if found.findings:
        raise click.exceptions.Exit(Exit.FAILED)


def _print(path: Path, found: Verified) -> None:
    if found.findings:
        show_table(HEADS, [(each.task_id, each.rule, each.meaning) for each in found.findings])
    use = "in use" if found.in_use else "not in use"
    many = len(found.findings)
    verdict = f"{many} finding{'s' * (many > 1)}" if many else "all is well"
    click.echo(f"{path}: {found.records:,} records, {use}: {verdict}")
