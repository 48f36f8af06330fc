"""`quell ledger drift`: how far our numbers are from what was said later."""

from typing import Any

import click

from proxy.cli.admin_client import AdminClient
from proxy.cli.admin_options import talks_to_proxy
from proxy.cli.output import say, show_csv, show_json, show_table
from proxy.cli.span_options import MOMENT
from proxy.core.called import called

HEADS = ("upstream", "model", "source", "records", "what", "ours", "theirs", "percent")


@click.command(short_help="Say how far our counts are from later truths.")
@click.option("--since", type=MOMENT, help="Only what started then or later: 24h, 2026-11-01, 2026-11-01T12:30Z.")
@click.option("--until", type=MOMENT, help="Only what started before that.")
@click.option("-o", "--output", type=click.Choice(["table", "json", "csv"]), default="table", help="How to print it.")
@talks_to_proxy
def drift(client: AdminClient, *, since: str | None, until: str | None, output: str) -> None:
    """Compare the records that have later truths with what each source said last, for each upstream and model.

    PERCENT is by how much theirs is more than ours. Only what both sides know is compared.
    """
    query = {name: value for name, value in (("since", since), ("until", until)) if value is not None}
    found = client.get("/ledger/drift", query)
    if output == "json":
        show_json(found)
        return
    rows = [row for each in found["data"] for row in _rows(each)]
    if output == "csv":
        show_csv(HEADS, rows)
    else:
        show_table([head.upper() for head in HEADS], rows)
    if not rows:
        say(f"no record of this span has a later truth; `{called()} ledger reconcile` attaches them")


def _rows(found: dict[str, Any]) -> list[tuple[Any, ...]]:
    compared = {
        "prompt tokens": found["prompt_tokens"],
        "completion tokens": found["completion_tokens"],
        **{f"cost {currency}": cost for currency, cost in found["cost"].items()},
    }
    whose = (found["upstream"], found["model"], found["source"], found["records"])
    return [(*whose, what, both["ours"], both["theirs"], both["percent"]) for what, both in compared.items()]
