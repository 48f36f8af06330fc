"""`quell ledger`: what one does with the ledger's file. One file per command, one line here for each."""

from typing import Final

import click

from proxy.cli.lazy import LazyGroup

PLACES: Final = {
    "verify": "proxy.cli.ledger_verify:verify",
    "recover": "proxy.cli.ledger_recover:recover",
    "purge": "proxy.cli.ledger_purge:purge",
    "export": "proxy.cli.ledger_export:export",
    "reconcile": "proxy.cli.ledger_reconcile:reconcile",
    "drift": "proxy.cli.ledger_drift:drift",
}


@click.group(cls=LazyGroup, places=PLACES, short_help="Check the ledger, save, shorten and export it.")
def ledger() -> None:
    """Look after the ledger: check it, save it, shorten it, get its records out."""
