"""Where an export comes from, page by page: a running proxy's admin API, or a ledger's file itself."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from proxy.cli.admin_client import AdminClient, CommandError
from proxy.core.moments import parse_moment
from proxy.core.settled import exported
from proxy.stores.ledger.errors import LedgerOpenError
from proxy.stores.ledger.outbox import ForeignPositionError
from proxy.stores.ledger.outbox_sqlite import outbox_page
from proxy.stores.ledger.reports import read_only
from proxy.stores.ledger.usage import Span

NEXT_CURSOR: Final = "X-Next-Cursor"
LAST_CURSOR: Final = "X-Last-Cursor"
MORE: Final = "X-More"

_PAGE: Final = 1000
_PAGE_WITH_TEXT: Final = 20


@dataclass(frozen=True, slots=True)
class Asked:
    """Which records are exported: those behind `after`, in a span, with their texts or without."""

    after: int
    since: str | None
    until: str | None
    text: bool


@dataclass(frozen=True, slots=True)
class ExportPage:
    """Some records; `cursor` is where to go on, `last` the last cursor there is."""

    records: list[dict[str, Any]]
    cursor: int
    last: int


def pages_of_proxy(client: AdminClient, asked: Asked) -> Iterator[ExportPage]:
    """The pages that a running proxy gives.

    Raises:
        CommandError: it does not.
    """
    fixed = {"since": asked.since, "until": asked.until, "text": "true" if asked.text else None, "limit": str(_PAGE)}
    query = {name: value for name, value in fixed.items() if value is not None}
    cursor, more = asked.after, True
    while more:
        headers, body = client.lines("/ledger/export", {**query, "after": str(cursor)})
        cursor, more = int(headers[NEXT_CURSOR]), headers[MORE] == "true"
        yield ExportPage([json.loads(line) for line in body.splitlines()], cursor, int(headers[LAST_CURSOR]))


def pages_of_file(path: Path, asked: Asked) -> Iterator[ExportPage]:
    """The pages of a ledger's file; each is of one moment, so that a proxy that runs on it is not held up.

    Raises:
        CommandError: the file can't be read.
    """
    now = time.time()
    since, until = (None if text is None else parse_moment(text, now) for text in (asked.since, asked.until))
    cursor, more = asked.after, True
    limit = _PAGE_WITH_TEXT if asked.text else _PAGE
    try:
        with read_only(path) as connection:
            while more:
                page = outbox_page(connection, cursor, limit, Span(since, until), text=asked.text)
                connection.rollback()
                cursor, more = page.position, page.more
                yield ExportPage([exported(each, text=asked.text) for each in page.settled], cursor, page.end)
    except LedgerOpenError as error:
        raise CommandError(str(error)) from error
    except ForeignPositionError as error:
        message = f"{path}: never had so many records: the cursor {cursor} is of another ledger, or of a newer copy"
        raise CommandError(message) from error
