"""What a visitor of the admin listener is shown of texts that models wrote. Each look at one is noted in the log."""

from typing import Any

import structlog
from aiohttp import web

from proxy.core.receipt import receipt, shown
from proxy.core.record import Record
from proxy.edge.admin.access import visitor_of

log = structlog.get_logger()

_HIDDEN = {"text": None, "text_hidden": True}


def record_for(http: web.BaseRequest, record: Record) -> dict[str, Any]:
    """A record as whoever sent the request may see it."""
    if not visitor_of(http).text:
        return {**shown(record, text=False), **_HIDDEN}
    note_if_any(http, record)
    return shown(record)


def receipt_for(http: web.BaseRequest, record: Record) -> dict[str, Any]:
    """The receipt of a stop as whoever asked for it may see it."""
    told = receipt(record)
    if not visitor_of(http).text:
        return {**told, "partial": {**told["partial"], **_HIDDEN}}
    note_if_any(http, record)
    return told


def note_if_any(http: web.BaseRequest, record: Record) -> None:
    """Note that somebody is shown a record, where it has a text."""
    if record.text:
        note_view(http, record.task_id)


def note_view(http: web.BaseRequest, task_id: str) -> None:
    """Note that somebody is shown the text of a generation; a HEAD shows none."""
    if http.method == "HEAD":
        return
    log.info("text.viewed", who=visitor_of(http).name, task_id=task_id)
