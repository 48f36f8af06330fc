"""`quell usage`: what was used, from the ledger."""

from typing import get_args

import click

from proxy.cli.admin_client import AdminClient
from proxy.cli.admin_options import talks_to_proxy
from proxy.cli.durations import DURATION
from proxy.cli.output import show_csv, show_json, show_table
from proxy.stores.ports import UsageGroup

COLUMNS = ("generations", "prompt_tokens", "completion_tokens", "total_tokens", "unknown")
GROUPS: tuple[UsageGroup, ...] = get_args(UsageGroup)


@click.command()
@click.option("--since", type=DURATION, default="7d", show_default=True, help="How far back, such as 24h or 30d.")
@click.option("--by", type=click.Choice(GROUPS), default="model", show_default=True, help="What to sum over.")
@click.option("-o", "--output", type=click.Choice(["table", "json", "csv"]), default="table", help="How to print it.")
@talks_to_proxy
def usage(client: AdminClient, *, since: str, by: str, output: str) -> None:
    """Sum up tokens. `unknown` counts the generations of which no token count is known."""
    found = client.get("/usage", {"since": since, "by": by})
    if output == "json":
        show_json(found)
        return
    rows = [(each["group"], *(each[name] for name in COLUMNS)) for each in found["data"]]
    if output == "csv":
        show_csv((by, *COLUMNS), rows)
    else:
        heads = (by, *COLUMNS)
        show_table([head.upper().replace("_", " ") for head in heads], [(row[0] or None, *row[1:]) for row in rows])
