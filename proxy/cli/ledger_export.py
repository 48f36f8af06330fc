"""`quell ledger export`: the ended records, in their order, and on from where the last export ended."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import click

from proxy.cli.admin_client import AdminClient, CommandError
from proxy.cli.admin_options import talks_to_proxy
from proxy.cli.export_formats import FORMATS, make_writer
from proxy.cli.export_pages import Asked, ExportPage, pages_of_file, pages_of_proxy
from proxy.cli.output import say
from proxy.cli.progress import progress_bar
from proxy.cli.span_options import MOMENT
from proxy.cli.whole_file import whole_file


@click.command(short_help="Print ended records.")
@click.argument("path", type=click.Path(path_type=Path), required=False)
@click.option(
    "--after", type=click.IntRange(0), metavar="CURSOR", help="Begin behind this cursor of an earlier export."
)
@click.option(
    "--cursor-file", type=click.Path(path_type=Path), help="Begin behind the cursor in it; put the new one into it."
)
@click.option("--since", type=MOMENT, help="Only what started then or later: 24h, 2026-11-01, 2026-11-01T12:30Z.")
@click.option("--until", type=MOMENT, help="Only what started before that.")
@click.option("--text", is_flag=True, help="With the texts that are still kept. They are somebody's words.")
@click.option("-f", "--format", "kind", type=click.Choice(FORMATS), help="By default what FILE ends with, else jsonl.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write this FILE, as a whole, mode 0600.")
@talks_to_proxy
def export(
    client: AdminClient,
    *,
    path: Path | None,
    after: int | None,
    cursor_file: Path | None,
    since: str | None,
    until: str | None,
    text: bool,
    kind: str | None,
    output: Path | None,
) -> None:
    """Print ended records in the order of their ends: of the running proxy, or of the ledger's file at PATH.

    Each has an id that is the same in every export. A later truth about a record comes as a further revision, with
    the record's own numbers beside it. The last line on standard error has the cursor to go on with.
    """
    if path is not None and str(path).startswith("postgresql:"):
        raise CommandError("what is in PostgreSQL is exported by a running proxy: leave PATH out")
    if after is not None and cursor_file is not None:
        raise CommandError("give --after or --cursor-file, not both")
    asked = Asked(_begin(after, cursor_file), since, until, text)
    pages = pages_of_proxy(client, asked) if path is None else pages_of_file(path, asked)
    kind = kind or (output.suffix.removeprefix(".") if output and output.suffix[1:] in FORMATS else "jsonl")
    with _opened(output) as file:
        count, cursor = _write(pages, file, kind, asked, is_file=output is not None)
    if cursor_file is not None:
        with whole_file(cursor_file) as file:
            file.write(f"{cursor}\n".encode())
    say(f"{count} exported; go on with --after {cursor}")


def _write(pages: Iterator[ExportPage], file: BinaryIO, kind: str, asked: Asked, *, is_file: bool) -> tuple[int, int]:
    """Write all pages; gives how many records they had, and the cursor behind them."""
    writer = make_writer(kind, file, text=asked.text)
    count, cursor = 0, asked.after
    try:
        with progress_bar("exporting") as progress:
            for page in pages:
                writer.write(page.records)
                file.flush()
                count, cursor = count + len(page.records), page.cursor
                progress(cursor - asked.after, page.last - asked.after)
        writer.finish()
        file.flush()
    except (CommandError, KeyboardInterrupt):
        if count and not is_file:
            say(f"cut behind {count} records; go on with --after {cursor}")
        raise
    return count, cursor


def _begin(after: int | None, cursor_file: Path | None) -> int:
    if cursor_file is None or not cursor_file.exists():
        return after or 0
    try:
        text = cursor_file.read_text(encoding="ascii").strip()
    except (OSError, ValueError) as error:
        raise CommandError(f"{cursor_file}: can't be read") from error
    if not text.isdigit():
        raise CommandError(f"{cursor_file}: holds no cursor, which is a whole number; delete it to begin anew")
    return int(text)


@contextmanager
def _opened(output: Path | None) -> Iterator[BinaryIO]:
    if output is None:
        yield sys.stdout.buffer
    else:
        with whole_file(output) as file:
            yield file
