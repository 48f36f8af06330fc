"""`quell ps`: what runs now."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

import click

from proxy.cli.admin_client import AdminClient
from proxy.cli.admin_options import talks_to_proxy
from proxy.cli.durations import DURATION
from proxy.cli.output import age, say, say_what_is_missing, show_json, show_json_line, show_table
from proxy.cli.repeating import EVERY, repeatedly
from proxy.cli.room import Rank, show_in_room, up_to
from proxy.cli.route_option import ROUTE, say_if_no_route
from proxy.cli.whole_id import short_id
from proxy.core.settings.scalar_types import parse_duration

HEADS: Final = ("ID", "AGE", "STATE", "ROUTE", "MODEL", "KEY", "USER", "CHARS")
RANKS: Final = {
    "ID": Rank(0, short_id),
    "AGE": Rank(1),
    "STATE": Rank(2),
    "CHARS": Rank(3),
    "MODEL": Rank(4, up_to(24)),
    "USER": Rank(5, up_to(16)),
    "KEY": Rank(6, up_to(16)),
    "ROUTE": Rank(7, up_to(20)),
    "REPLICA": Rank(8, up_to(24)),
}
NOTHING: Final = "nothing runs"
NOTHING_MATCHES: Final = "nothing runs that matches"
WIDE_HEADS: Final = (*HEADS, "TOKENS", "COST", "UPSTREAM", "REPLICA", "TAGS", "MESSAGE ID")

_Look = tuple[list[dict[str, Any]], dict[str, Any]]
"""What runs, and the last page, which says what is missing."""


@click.command(short_help="List what runs now, on all replicas.")
@click.option("--user", help="Only this end user's.")
@click.option("--key", help="Only this caller's: a key's id, or the digits shown for it.")
@click.option("--route", type=ROUTE, help="Only on this route, such as /v1.")
@click.option("--model", help="Only with this model.")
@click.option("--older", type=DURATION, help="Only what has run for longer, such as 10m.")
@click.option("-o", "--output", type=click.Choice(["table", "wide", "json"]), default="table", help="How to print it.")
@click.option("-q", "--quiet", is_flag=True, help="Print ids only: quell stop $(quell ps -q --older 10m).")
@click.option("-w", "--watch", is_flag=True, help="Again and again, until Ctrl-C; with -q each id once.")
@click.option("--every", type=DURATION, default=EVERY, show_default=True, help="How often, with --watch.")
@talks_to_proxy
def ps(
    client: AdminClient,
    *,
    user: str | None,
    key: str | None,
    route: str | None,
    model: str | None,
    older: str | None,
    output: str,
    quiet: bool,
    watch: bool,
    every: str,
) -> None:
    """List the generations that run now, on all replicas, newest first.

    A terminal that is too narrow gets short ids, and fewer columns; -o wide has all, and wraps.
    With --watch on a terminal the table stays in place; elsewhere one follows the other, JSON with a list a line.
    """
    filters = {"user": user, "key": key, "route": route, "model": model, "older_than": older}
    query = {"state": "live", **{name: value for name, value in filters.items() if value is not None}}

    known: set[str] = set()

    def look() -> _Look:
        last: dict[str, Any] = {}
        return list(client.pages(query, last.update)), last

    def show(found: _Look) -> None:
        records, last = found
        if quiet:
            known.update(_show_new(records, known))
        elif output == "json":
            show_json_line(records) if watch else show_json(records)
        else:
            show_live(records, output)
        say_what_is_missing(last)

    if watch:
        repeatedly(look, show, parse_duration(every), in_place=not quiet and output != "json")
    else:
        found = look()
        show(found)
        if not found[0]:
            if output != "json" and not quiet:
                say(NOTHING if query.keys() == {"state"} else NOTHING_MATCHES)
            say_if_no_route(client, route)


def show_live(records: list[dict[str, Any]], output: str) -> None:
    """Print these as a table, `wide` or not; a column for the replicas comes in where there are several.

    One that is not wide keeps to the terminal.
    """
    if output == "wide":
        show_table(WIDE_HEADS, [(*_row(each), *_more(each)) for each in records])
    elif len({each.get("replica") for each in records}) > 1:
        show_in_room((*HEADS, "REPLICA"), [(*_row(each), each.get("replica")) for each in records], RANKS)
    else:
        show_in_room(HEADS, [_row(each) for each in records], RANKS)


def _show_new(records: Iterable[Mapping[str, Any]], known: Collection[str]) -> list[str]:
    """Print the ids that are not known yet; gives the message ids of all that run, by which they are known."""
    for each in records:
        if each["message_id"] not in known:
            click.echo(each["task_id"])
    return [each["message_id"] for each in records]


def _row(record: Mapping[str, Any]) -> tuple[Any, ...]:
    seconds = record["elapsed_seconds"]
    return (
        record["task_id"],
        None if seconds is None else age(seconds),
        state_of(record),
        record["route"],
        record["model"],
        record["key_id"],
        record["user"],
        record["characters"],
    )


def _more(record: Mapping[str, Any]) -> tuple[Any, ...]:
    cost, tags = record.get("cost"), record.get("tags") or {}
    return (
        record.get("completion_tokens"),
        None if cost is None else f"{cost} {record.get('currency') or ''}".rstrip(),
        record.get("upstream"),
        record.get("replica"),
        ",".join(f"{name}={value}" for name, value in tags.items()) or None,
        record["message_id"],
    )


def state_of(record: Mapping[str, Any]) -> str | None:
    """Where it is; of what a silent replica has nobody knows whether it still runs."""
    if record.get("unconfirmed"):
        return "unconfirmed"
    return "stopping" if record["cause"] else record["phase"]
