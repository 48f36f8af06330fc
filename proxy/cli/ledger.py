"""`quell ledger`: what one does with the ledger's file. One file per command, one line here for each."""

from typing import Final

import click

from proxy.cli.lazy import LazyGroup

PLACES: Final = {
    "verify": "proxy.cli.ledger_verify:verify",
    "recover": "proxy.cli.ledger_recover:recover",
    "purge": "proxy.cli.ledger_purge:purge",
}


@click.group(cls=LazyGroup, places=PLACES)
def ledger() -> None:
    """Look after the ledger: check it, save it, shorten it."""
