"""`quell usage`: what was used, from the ledger."""

from collections.abc import Sequence
from typing import Any, Final

import click

from proxy.cli.admin_client import AdminClient
from proxy.cli.admin_options import talks_to_proxy
from proxy.cli.output import say, show_csv, show_json
from proxy.cli.room import Rank, show_in_room
from proxy.cli.route_option import ROUTE, say_if_no_route
from proxy.cli.span_options import GROUPS, MOMENT, TAG
from proxy.core.lifecycle import Outcome
from proxy.stores.ledger.usage import USAGE_GROUPS

COUNTS: Final = (
    *("generations", "prompt_tokens", "completion_tokens", "total_tokens", "cached_tokens", "reasoning_tokens"),
    "unknown",
)
SAVED: Final = ("saved_typical", "saved_most", "late_tokens")
SHORT: Final = {
    "prompt_tokens": "PROMPT",
    "completion_tokens": "COMPLETION",
    "total_tokens": "TOTAL",
    "cached_tokens": "CACHED",
    "reasoning_tokens": "REASONING",
    "cost_unknown": "NO COST",
    "saved_typical": "SAVED",
    "late_tokens": "LATE",
}
"""The heads of the table; the other ones are the columns' names."""
GIVING_WAY: Final = ("CACHED", "REASONING", "LATE", "TOTAL", "UNKNOWN", "NO COST", "SAVED", "GENERATIONS", "PROMPT")
"""The columns that a narrow terminal leaves out, the first one first."""


@click.command(short_help="Sum up tokens, cost and savings.")
@click.option("--since", type=MOMENT, default="7d", show_default=True, help="24h, 7d, 2026-11-01, 2026-11-01T12:30Z.")
@click.option("--until", type=MOMENT, help="The same; what started then or later is left out.")
@click.option(
    "--by",
    type=GROUPS,
    multiple=True,
    default=("model",),
    show_default=True,
    help=f"What to sum over: {', '.join(USAGE_GROUPS)}, tag:NAME; several with commas.",
)
@click.option("--key", help="Only this caller's: a key's id, or the digits shown for it.")
@click.option("--user", help="Only this end user's.")
@click.option("--model", help="Only with this model.")
@click.option("--route", type=ROUTE, help="Only on this route, such as /v1.")
@click.option("--tag", type=TAG, help="Only with this tag, such as team=search.")
@click.option("--outcome", type=click.Choice([str(each) for each in Outcome]), help="Only what ended like this.")
@click.option("-o", "--output", type=click.Choice(["table", "json", "csv"]), default="table", help="How to print it.")
@talks_to_proxy
def usage(client: AdminClient, *, by: tuple[str, ...], output: str, **filters: str | None) -> None:
    """Sum up tokens and cost of the generations that started in a span.

    UNKNOWN counts those whose prompt or completion nobody could count, NO COST those without a cost: what is not known
    is in no sum. SAVED is what stops kept from being made, against a typical answer and at most; LATE is what
    upstreams made behind a stop. Neither is billed.
    """
    query = {name: value for name, value in filters.items() if value is not None}
    found = client.get("/usage", {**query, "by": ",".join(by)})
    if not found["data"]:
        say("no generation of this span matches")
        say_if_no_route(client, filters["route"])
    if output == "json":
        show_json(found)
        return
    groups, data = found["by"], found["data"]
    currencies = sorted({currency for row in data for currency in row["cost"]})
    rows = [_row(groups, currencies, row) for row in data]
    if output == "csv":
        costs = [f"cost_{currency}" for currency in currencies]
        show_csv((*groups, *COUNTS, *costs, "cost_unknown", *SAVED), rows)
    else:
        heads = (*groups, *COUNTS, *(f"cost {currency}" for currency in currencies), "cost_unknown")
        _show([*map(_head, heads), "SAVED", "LATE"], [(*row[: -len(SAVED)], *_saved(row)) for row in rows])


def _show(heads: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print the table; what a narrow terminal leaves out is named, since sums would be looked for."""
    ranks = {head: Rank(len(GIVING_WAY) - at) for at, head in enumerate(GIVING_WAY)}
    left_out = show_in_room(heads, rows, {head: ranks.get(head, Rank(0)) for head in heads})
    if left_out:
        say(f"this terminal has no room for {', '.join(left_out)}; -o csv has all")


def _row(groups: list[str], currencies: list[str], row: dict[str, Any]) -> tuple[Any, ...]:
    return (
        *(row["group"][name] for name in groups),
        *(row[name] for name in COUNTS),
        *(row["cost"].get(currency) for currency in currencies),
        row["cost_unknown"],
        *(row[name] for name in SAVED),
    )


def _head(name: str) -> str:
    return SHORT.get(name, name.upper().replace("_", " "))


def _saved(row: tuple[Any, ...]) -> tuple[Any, Any]:
    """What was saved as a range, and what came late."""
    typical, most, late = row[-len(SAVED) :]
    if most is None and typical is None:
        return None, late
    match typical, most:
        case None, _:
            return f"up to {most:,}", late
        case _, None:
            return f"about {typical:,}", late
        case _:
            return f"{typical:,} to {most:,}", late
