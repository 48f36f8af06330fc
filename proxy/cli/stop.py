"""`quell stop`: end generations, and say truthfully what became of each."""

import sys
from typing import Any, Final

import click

from proxy.cli.admin_client import AdminClient, CommandError, Exit, escaped
from proxy.cli.admin_options import talks_to_proxy
from proxy.cli.output import how_much, say, say_what_is_missing, show_json
from proxy.cli.ps import NOTHING, NOTHING_MATCHES
from proxy.cli.route_option import ROUTE, say_if_no_route
from proxy.cli.whole_id import with_whole_id
from proxy.config_file.problems import printable

EXITS: Final = {"stopped": Exit.DONE, "stopping": Exit.NOT_CONFIRMED, "already_finished": Exit.ALREADY_FINISHED}

NOTHING_HERE: Final = "nothing matches here; other replicas could not be asked"

WORST_FIRST: Final = (Exit.NOT_ALLOWED, Exit.FAILED, Exit.NOT_CONFIRMED, Exit.NOT_FOUND, Exit.ALREADY_FINISHED)
"""Which exit code several stops have together."""


@click.command(short_help="Stop generations, one or many.")
@click.argument("ids", nargs=-1, metavar="[ID]...")
@click.option("--user", help="All of this end user.")
@click.option("--key", help="All of this caller: a key's id, or the digits shown for it.")
@click.option("--route", type=ROUTE, help="All on this route, such as /v1.")
@click.option("--all", "everything", is_flag=True, help="All that run.")
@click.option("--last", is_flag=True, help="The one that was started last.")
@click.option("--reason", help="Why; it is kept in the record.")
@click.option("--yes", "-y", is_flag=True, help="Don't ask before several are stopped.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="How to print it.")
@click.option("-q", "--quiet", is_flag=True, help="Print only the ids of what is stopped.")
@talks_to_proxy
def stop(
    client: AdminClient,
    *,
    ids: tuple[str, ...],
    user: str | None,
    key: str | None,
    route: str | None,
    everything: bool,
    last: bool,
    reason: str | None,
    yes: bool,
    output: str,
    quiet: bool,
) -> None:
    """Stop generations by ID, or all of a user, key or route, or all.

    Of an id that Quell made the first characters are enough, if no other one begins with them.

    Exit codes: 0 done, 3 not found, 4 already finished, 5 not allowed, 6 not confirmed in time.
    """
    chosen = {"user": user, "key": key, "route": route}
    filters: dict[str, Any] = {name: value for name, value in chosen.items() if value is not None}
    if sum((bool(ids), bool(filters), everything, last)) != 1:
        raise click.UsageError(
            "Say what to stop, one of: IDs; --last; --user, --key, --route or several of these; --all."
        )
    extra = {} if reason is None else {"reason": reason}
    shown = "ids" if quiet else output
    if ids or last:
        code = _stop_each(client, ids or (_newest(client),), extra, shown)
    else:
        code = _stop_many(client, {"all": True} if everything else filters, extra, shown, yes=yes)
    sys.exit(code)


def _stop_each(client: AdminClient, ids: tuple[str, ...], extra: dict[str, str], output: str) -> Exit:
    codes, receipts = [], []
    for any_id in dict.fromkeys(ids):
        try:
            receipt = with_whole_id(client, any_id, lambda whole: stop_one(client, whole, extra))
        except CommandError as error:
            if error.code is not Exit.NOT_FOUND:
                raise
            click.echo(f"{printable(any_id)}: {error}", err=True)
            codes.append(Exit.NOT_FOUND)
            continue
        receipts.append(receipt)
        codes.append(EXITS.get(receipt["result"], Exit.FAILED))
        if output == "text":
            click.echo(sentence(receipt))
        elif output == "ids" and codes[-1] is Exit.DONE:
            click.echo(receipt["task_id"])
    if output == "json":
        show_json(receipts)
    return _worst(codes)


def stop_one(client: AdminClient, any_id: str, extra: dict[str, str]) -> dict[str, Any]:
    """Stop what has this id; gives the receipt.

    Raises:
        CommandError: there is no such generation, or the stop is refused.
    """
    return client.post(f"/generations/{escaped(any_id)}/cancel", extra)


def _stop_many(client: AdminClient, filters: dict[str, Any], extra: dict[str, str], output: str, *, yes: bool) -> Exit:
    if not yes:
        _ask(client, filters)
    answer = client.post("/generations/cancel", {**filters, **extra})
    if output == "json":
        show_json(answer)
    else:
        for task_id in answer["stopped"]:
            click.echo(task_id)
        for task_id in answer["unconfirmed"]:
            say(f"{task_id}: not confirmed yet, its upstream may still be open")
        if not answer["matched"]:
            say(_nothing(answer))
            say_if_no_route(client, filters.get("route"))
        elif output == "text":
            say(f"stopped {answer['count']}")
        say_what_is_missing(answer)
    if answer["unconfirmed"] or not answer.get("complete", True):
        return Exit.NOT_CONFIRMED
    return Exit.DONE if answer["matched"] else Exit.NOT_FOUND


def _ask(client: AdminClient, filters: dict[str, Any]) -> None:
    """Let a person confirm how many are stopped.

    Raises:
        CommandError: there is nothing to stop, nobody to ask, or the answer is no.
    """
    if not sys.stdin.isatty():
        raise click.UsageError("Nobody is there to be asked: stopping several from a script needs --yes.")
    answer = client.post("/generations/cancel", {**filters, "dry_run": True})
    count = len(answer["matched"])
    if not count:
        say_if_no_route(client, filters.get("route"))
        is_sure = answer.get("complete", True)
        raise CommandError(_nothing(answer), Exit.NOT_FOUND if is_sure else Exit.NOT_CONFIRMED)
    things = "1 generation" if count == 1 else f"{count} generations"
    if not click.confirm(f"Stop {things}?", err=True):
        raise CommandError("nothing was stopped")


def _newest(client: AdminClient) -> str:
    page = client.get("/generations", {"state": "live", "limit": "1"})
    for record in page["data"]:
        return str(record["message_id"])
    if not page.get("complete", True):
        raise CommandError("nothing runs here; other replicas could not be asked", Exit.NOT_CONFIRMED)
    raise CommandError(NOTHING, Exit.NOT_FOUND)


def sentence(receipt: dict[str, Any]) -> str:
    """A receipt in one line: what happened, how fast, what was kept."""
    task_id, result = receipt["task_id"], receipt["result"]
    amount = how_much(receipt["usage"]["completion_tokens"], receipt["partial"]["characters"])
    if result == "already_finished":
        return f"{task_id} had already finished ({receipt['status']}){amount}"
    if result == "stopping":
        return f"stopping {task_id} · the upstream's close is not confirmed yet"
    took = receipt["upstream_closed_ms"]
    speed = f" in {took:.1f} ms" if took is not None else ""
    kept = f"{amount} kept" if amount else ""
    return f"stopped {task_id}{speed}{kept}{_saved(receipt)} · upstream closed"


def _saved(receipt: dict[str, Any]) -> str:
    """What the stop saved, where that can be said; an older proxy says nothing of it."""
    saved = receipt.get("saved_tokens", {})
    if (typical := saved.get("typical")) is not None:
        return f" · about {typical} not made"
    most = saved.get("most")
    return "" if most is None else f" · at most {most} not made"


def _nothing(answer: dict[str, Any]) -> str:
    """That nothing matches, as far as that is known."""
    return NOTHING_MATCHES if answer.get("complete", True) else NOTHING_HERE


def _worst(codes: list[Exit]) -> Exit:
    return next((code for code in WORST_FIRST if code in codes), Exit.DONE)
