"""`quell ledger reconcile`: attach to the records what was said of them later, by a bill or by OpenRouter itself."""

import asyncio
import os
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Final

import click

from proxy.cli.admin_client import AdminClient, CommandError, Exit
from proxy.cli.admin_options import talks_to_proxy
from proxy.cli.openrouter import SOURCE, asking, upstreams_of
from proxy.cli.output import say, show_json, show_table
from proxy.cli.progress import progress_bar
from proxy.cli.span_options import MOMENT
from proxy.cli.truth_file import FIELDS, check_file, is_currency, read_file
from proxy.config_file import load, render
from proxy.core.settings.settings import Settings, UpstreamSettings

AT_ONCE: Final = 500
"""Truths of one call, which are written in one transaction."""

ASKED_AT_ONCE: Final = 50
"""The same of OpenRouter's, which are asked for one by one: what was learned is soon kept."""

NOT_THERE: Final = "not_there"
"""What OpenRouter does not know (yet, or any more)."""

_DONE: Final = frozenset({"attached", "unchanged"})
_WHY: Final = {
    "unknown": "no record has this upstream id",
    "ambiguous": "several records have this upstream id; a column upstream would tell which",
    "not_ended": "its generation still runs; try again later",
    NOT_THERE: "OpenRouter does not know it (yet); try again later",
}


class _Pair(click.ParamType[tuple[str, str]]):
    """`FIELD=HEAD`."""

    name = "FIELD=HEAD"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        field, equals, head = str(value).partition("=")
        if not (equals and head) or field not in FIELDS:
            self.fail(f"expected FIELD=HEAD, with a field of: {', '.join(FIELDS)}", param, ctx)
        return field, head


@click.command(short_help="Attach later token counts and costs.")
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.option("--map", "mapped", multiple=True, type=_Pair(), help="The column HEAD of FILE has FIELD; repeatable.")
@click.option("--source", default="csv", show_default=True, help="Who says it; what one says again is not attached.")
@click.option("--currency", help="Of the costs where FILE has no column currency, such as USD.")
@click.option("--openrouter", is_flag=True, help="Ask OpenRouter, with the key from --config, instead of a FILE.")
@click.option("--upstream", help="With --openrouter: the upstream that is meant, if its host does not tell.")
@click.option("--since", type=MOMENT, default="7d", show_default=True, help="With --openrouter: only newer records.")
@click.option("--dry-run", is_flag=True, help="Only say what would become of each.")
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", help="How to print it.")
@talks_to_proxy
def reconcile(
    client: AdminClient,
    *,
    file: Path | None,
    mapped: tuple[tuple[str, str], ...],
    source: str,
    currency: str | None,
    openrouter: bool,
    upstream: str | None,
    since: str,
    dry_run: bool,
    output: str,
) -> None:
    """Attach later token counts and costs to the records with these upstream ids, as further revisions.

    The records' own numbers stay. FILE is CSV with a line of heads; a wrong line is named, and then nothing is
    attached. Doing it again changes nothing. Exit code 3: something has found no record.
    """
    if (file is None) != openrouter:
        raise CommandError("give a FILE, or --openrouter")
    if currency is not None and not is_currency(currency):
        raise CommandError("--currency: expected three capital letters, such as USD")
    told = _Told(client, dry_run=dry_run)
    if file is not None:
        _from_file(told, file, dict(mapped), source, currency)
    else:
        for each in upstreams_of(_settings(click.get_current_context().params["config"]), upstream):
            asyncio.run(_from_openrouter(told, client, each, since))
    told.report(output)


class _Told:
    """Hands truths over, and keeps what became of them."""

    def __init__(self, client: AdminClient, *, dry_run: bool) -> None:
        self._client = client
        self._dry_run = dry_run
        self.counts: Counter[str] = Counter()
        self.left: list[dict[str, Any]] = []
        """What was not attached, with the place that it came from."""

    def hand_over(self, truths: list[tuple[str, dict[str, Any]]]) -> None:
        """Attach some truths, each with the place that it came from."""
        if not truths:
            return
        body = {"truths": [truth for _, truth in truths], "dry_run": self._dry_run}
        for (place, _), found in zip(truths, self._client.post("/ledger/truths", body)["data"], strict=True):
            self.note(place, found["upstream_id"], found["result"])

    def note(self, place: str, upstream_id: str, result: str) -> None:
        """Count what became of one truth."""
        self.counts[result] += 1
        if result not in _DONE:
            self.left.append({"place": place, "upstream_id": upstream_id, "result": result})

    def report(self, output: str) -> None:
        """Print what became of all of them.

        Raises:
            click.exceptions.Exit: something was not attached.
        """
        if output == "json":
            show_json({"dry_run": self._dry_run, "counts": dict(self.counts), "left": self.left})
        else:
            for each in self.left:
                say(f"{each['place']}: {each['upstream_id']}: {_WHY[each['result']]}")
            show_table(("RESULT", "RECORDS"), sorted(self.counts.items()))
            if self._dry_run:
                say("a dry run: nothing was attached")
        if self.left:
            raise click.exceptions.Exit(Exit.NOT_FOUND)


def _from_file(told: _Told, file: Path, mapped: dict[str, str], source: str, currency: str | None) -> None:
    lines = check_file(file, mapped, source, currency)
    truths = ((f"{file}:{each.number}", each.truth) for each in read_file(file, mapped, source, currency))
    with progress_bar("attaching") as progress:
        for some in _some(truths):
            told.hand_over(some)
            progress(told.counts.total(), lines)


def _some(truths: Iterator[tuple[str, dict[str, Any]]]) -> Iterator[list[tuple[str, dict[str, Any]]]]:
    while some := list(islice(truths, AT_ONCE)):
        yield some


async def _from_openrouter(told: _Told, client: AdminClient, upstream: UpstreamSettings, since: str) -> None:
    place = f"upstreams.{upstream.name}"
    query = {"upstream": upstream.name, "source": SOURCE, "since": since}
    async with asking(upstream) as router:
        while True:
            page = client.get("/ledger/untold", query)
            learned: list[tuple[str, dict[str, Any]]] = []
            for upstream_id in page["data"]:
                truth = await router.truth(upstream_id)
                if truth is None:
                    told.note(place, upstream_id, NOT_THERE)
                    continue
                learned.append((place, truth))
                if len(learned) == ASKED_AT_ONCE:
                    told.hand_over(learned)
                    learned = []
            told.hand_over(learned)
            if page["next_cursor"] is None:
                return
            query["after"] = page["next_cursor"]


def _settings(config: Path | None) -> Settings:
    if config is None:
        raise CommandError("--openrouter needs --config, which has the upstream and its key")
    loaded = load(config, os.environ)
    if loaded.settings is None or loaded.problems:
        raise CommandError("\n".join(render(loaded.problems)))
    return loaded.settings
