"""`quell ledger purge`: delete what is over, in the running proxy or in a file that no process holds."""

import asyncio
import sqlite3
import sys
import time
from pathlib import Path
from typing import Any

import click

from proxy.cli.admin_client import AdminClient, CommandError, tells_errors
from proxy.cli.admin_options import make_client
from proxy.cli.ledger_place import LedgerPlace, takes_ledger
from proxy.cli.moments import MOMENT
from proxy.cli.output import say, show_json
from proxy.cli.progress import progress_bar
from proxy.core.settings.settings import LedgerSettings
from proxy.edge.admin.token import SUFFIX
from proxy.engine.settling.sink import CONSUMER
from proxy.stores.ledger.errors import LedgerOpenError
from proxy.stores.ledger.lock_file import is_held
from proxy.stores.ledger.port import LedgerUnavailableError
from proxy.stores.ledger.purge import consumers_in_file, count_in_file, purge_file
from proxy.stores.shared_ledger.spool import FORWARDER

Purged = tuple[int, int]


@click.command(short_help="Delete what is kept too long.")
@click.option("--before", type=MOMENT, help="Records that ended before then, such as 30d or 2026-01-31.")
@click.option("--dry-run", is_flag=True, help="Delete nothing, only say how many it would be.")
@click.option("--yes", "-y", is_flag=True, help="Don't ask.")
@click.option("--admin", metavar="URL", help="The admin listener of the proxy that holds the ledger.")
@click.option("--token-file", type=click.Path(path_type=Path), help="Has the admin token.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="How to print it.")
@tells_errors
@takes_ledger
def purge(
    ledger: LedgerPlace,
    *,
    before: float | None,
    dry_run: bool,
    yes: bool,
    admin: str | None,
    token_file: Path | None,
    output: str,
) -> None:
    """Delete what ledger.keep and ledger.text_keep have passed, or records that ended --before some time.

    A running proxy does it itself, asked through its admin listener.
    """
    purging: _InProxy | _InFile
    if _is_in_use(ledger.path):
        purging = _InProxy(_client(ledger, admin, token_file))
    elif before is None and ledger.settings is None:
        raise CommandError("how long records are kept stands in the config file: give --config, or say --before when")
    else:
        purging = _InFile(ledger)
    if not (dry_run or yes):
        _ask(purging.purge(before, dry_run=True))
    texts, records = purging.purge(before, dry_run=dry_run)
    if output == "json":
        show_json({"dry_run": dry_run, "texts": texts, "records": records})
    else:
        click.echo(f"{'to be deleted' if dry_run else 'deleted'}: {_things(texts, records)}")


class _InProxy:
    """Lets the running proxy do it."""

    def __init__(self, client: AdminClient) -> None:
        self._client = client

    def purge(self, before: float | None, *, dry_run: bool) -> Purged:
        body: dict[str, Any] = {"dry_run": dry_run} | ({} if before is None else {"before": before})
        answer = self._client.post("/ledger/purge", body)
        return int(answer["texts"]), int(answer["records"])


class _InFile:
    """Does it in a file that no process holds, and spares what the sink was not served, as the proxy does."""

    def __init__(self, place: LedgerPlace) -> None:
        self._path, self._settings, self._has_sink = place.path, place.settings or LedgerSettings(), place.has_sink

    def purge(self, before: float | None, *, dry_run: bool) -> Purged:
        now = time.time()
        try:
            held = self._held()
            if dry_run:
                done = count_in_file(self._path, self._settings, now, before, held)
            else:
                with progress_bar("deleting") as progress:
                    done = asyncio.run(purge_file(self._path, self._settings, now, before, held, progress))
            old = count_in_file(self._path, self._settings, now, before, ())[1]
            if spared := old - (done[1] if dry_run else 0):
                whom = "PostgreSQL" if FORWARDER in held else "the sink"
                say(f"{spared:,} more records stay: {whom} was not served them yet")
        except KeyboardInterrupt:
            if not dry_run:
                say("stopped in the middle: what was deleted until now is gone; the same again deletes the rest")
            raise
        except (LedgerOpenError, LedgerUnavailableError) as error:
            raise CommandError(str(error)) from error
        except sqlite3.Error as error:
            raise CommandError(f"{self._path}: can't be read ({error})") from error
        return done

    def _held(self) -> frozenset[str]:
        """The sink and PostgreSQL, if the config file has them; without that file, if they were ever served."""
        if self._has_sink is None:
            return consumers_in_file(self._path)
        served = {CONSUMER: self._has_sink, FORWARDER: self._settings.is_shared}
        return frozenset(name for name, is_there in served.items() if is_there)


def _is_in_use(path: Path) -> bool:
    try:
        return is_held(path.with_name(path.name + ".lock"))
    except OSError as error:
        raise CommandError(f"{path}.lock: can't be read ({error.strerror})") from error


def _client(ledger: LedgerPlace, admin: str | None, token_file: Path | None) -> AdminClient:
    beside = ledger.path.with_name(ledger.path.name + SUFFIX)
    if token_file is None and ledger.config is None and beside.is_file():
        token_file = beside
    return make_client(admin, token_file, ledger.config)


def _ask(counted: Purged) -> None:
    """Let a person confirm how many are deleted.

    Raises:
        CommandError: the answer is no.
    """
    if not sys.stdin.isatty():
        raise click.UsageError("Nobody is there to be asked: deleting from a script needs --yes.")
    if not click.confirm(f"Delete {_things(*counted)} for ever?", err=True):
        raise CommandError("nothing was deleted")


def _things(texts: int, records: int) -> str:
    return f"{texts:,} texts and {records:,} records"
