"""`quell ps`: what runs now."""

from typing import Any

import click

from proxy.cli.admin_client import AdminClient
from proxy.cli.admin_options import talks_to_proxy
from proxy.cli.durations import DURATION
from proxy.cli.output import age, say_what_is_missing, show_json, show_table

HEADS = ("ID", "AGE", "STATE", "ROUTE", "MODEL", "KEY", "USER", "CHARS")


@click.command()
@click.option("--user", help="Only this end user's.")
@click.option("--key", help="Only this caller's: a key's id, or the digits shown for it.")
@click.option("--route", help="Only on this route, such as /v1.")
@click.option("--model", help="Only with this model.")
@click.option("--older", type=DURATION, help="Only what has run for longer, such as 10m.")
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", help="How to print it.")
@click.option("-q", "--quiet", is_flag=True, help="Print ids only: quell stop $(quell ps -q --older 10m).")
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
) -> None:
    """List the generations that run now, on all replicas, newest first."""
    filters = {"user": user, "key": key, "route": route, "model": model, "older_than": older}
    query = {name: value for name, value in filters.items() if value is not None}
    found = list(client.pages({"state": "live", **query}, say_what_is_missing))
    if quiet:
        for each in found:
            click.echo(each["task_id"])
    elif output == "json":
        show_json(found)
    else:
        replicas = {each.get("replica") for each in found}
        if len(replicas) > 1:
            show_table((*HEADS, "REPLICA"), [(*_row(each), each.get("replica")) for each in found])
        else:
            show_table(HEADS, [_row(each) for each in found])


def _row(record: dict[str, Any]) -> tuple[Any, ...]:
    seconds = record["elapsed_seconds"]
    return (
        record["task_id"],
        None if seconds is None else age(seconds),
        _state(record),
        record["route"],
        record["model"],
        record["key_id"],
        record["user"],
        record["characters"],
    )


def _state(record: dict[str, Any]) -> str | None:
    """Where it is; of what a silent replica has nobody knows whether it still runs."""
    if record.get("unconfirmed"):
        return "unconfirmed"
    return "stopping" if record["cause"] else record["phase"]
