"""`quell top`: a live table on a whole terminal, with a stop."""

import os
import sys
from typing import Any

import click

from proxy.cli.admin_client import AdminClient
from proxy.cli.admin_options import talks_to_proxy
from proxy.cli.keys import is_ours
from proxy.cli.output import say, say_what_is_missing, show_json
from proxy.cli.ps import show_live
from proxy.cli.repeating import INTERRUPTED
from proxy.cli.top.loop import run_top
from proxy.core.called import called


@click.command()
@click.option("-o", "--output", type=click.Choice(["table", "json"]), help="Print what runs once, and end.")
@talks_to_proxy
def top(client: AdminClient, *, output: str | None) -> None:
    """Show what runs, live, on the whole terminal.

    Up and down (or k and j) select, s stops the selected one and asks before, / filters, o sorts, p pauses, q quits.
    A filter is words, or user:NAME, key:NAME, route:PATH, model:NAME, tag:NAME:VALUE, older:10m.
    Without a terminal it prints the table once.
    """
    if output is None and _is_terminal():
        client.get("/generations", {"state": "live", "limit": "1"})  # what is wrong from the start is told plainly
        try:
            run_top(client)
        except KeyboardInterrupt:
            sys.exit(INTERRUPTED)
        return
    last: dict[str, Any] = {}
    records = list(client.pages({"state": "live"}, last.update))
    if output == "json":
        show_json(records)
    else:
        show_live(records, "table")
    say_what_is_missing(last)
    if output is None:
        say(f"this is no terminal, so the table came once; `{called()} ps --watch` repeats it")


def _is_terminal() -> bool:
    """Whether there is one that can be steered, and whose keys come here."""
    return os.environ.get("TERM", "") not in ("", "dumb") and sys.stdout.isatty() and is_ours(sys.stdin)
