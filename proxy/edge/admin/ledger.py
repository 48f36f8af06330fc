"""What leaves and what comes to the ledger by the admin API: exports, later truths, and how far off we were."""

import asyncio
import json
import time
from decimal import Decimal
from typing import Any, Final

from aiohttp import web

from proxy.core.errors import Refusal
from proxy.core.money import cost_text
from proxy.core.settled import exported
from proxy.edge.admin.access import text_not_allowed, visitor_of
from proxy.edge.admin.answer import HEADERS
from proxy.edge.admin.query import json_fields, parameters, span
from proxy.edge.admin.text import note_if_any
from proxy.edge.asked import whole_number
from proxy.edge.intake import read_body
from proxy.edge.runtime import Runtime
from proxy.edge.told_truths import MOST_TRUTHS, told_truths
from proxy.engine.engine import Engine
from proxy.stores.ledger.outbox import ForeignPositionError, OutboxPage
from proxy.stores.ledger.truths import Attached, Drift

NEXT_CURSOR: Final = "X-Next-Cursor"
LAST_CURSOR: Final = "X-Last-Cursor"
MORE: Final = "X-More"
PAGE: Final = 500
MAX_PAGE: Final = 1000
MAX_PAGE_WITH_TEXT: Final = 20
"""Records of a page with texts, each of which may have a mebibyte."""

_LAST: Final = 2**63 - 1
_TRUTHS_BODY: Final = 2**20


class AdminLedger:
    """The calls below `/api/ledger`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def export(self, http: web.BaseRequest, _runtime: Runtime) -> web.Response:
        """The next ended records behind a cursor, one JSON object a line; the headers say where to go on.

        Raises:
            Refusal: 400, a parameter is wrong; 403, the texts are asked for by somebody who may not see them; 409, the
                cursor is of another ledger.
        """
        given = parameters(http, ("after", "limit", "since", "until", "text"))
        after = whole_number("after", given.get("after", "0"), 0, _LAST)
        limit = whole_number("limit", given.get("limit", str(PAGE)), 1, MAX_PAGE)
        text = _yes(given, "text")
        if text and not visitor_of(http).text:
            raise text_not_allowed(visitor_of(http))
        most = min(limit, MAX_PAGE_WITH_TEXT) if text else limit
        try:
            page = await self._engine.ledger.exports.after(after, most, span(given, time.time()), text=text)
        except ForeignPositionError as error:
            message = "This ledger never had so many records: the cursor is of another one, or of a newer copy of it."
            raise Refusal(409, "foreign_cursor", message, param="after") from error
        if text:
            for settled in page.settled:
                note_if_any(http, settled.record)
        body = await asyncio.to_thread(_lines, page, text=text)
        headers = {
            **HEADERS,
            "Content-Type": "application/x-ndjson",
            NEXT_CURSOR: str(page.position),
            LAST_CURSOR: str(page.end),
            MORE: "true" if page.more else "false",
        }
        return web.Response(body=body, headers=headers)

    async def truths(self, http: web.BaseRequest, runtime: Runtime) -> dict[str, Any]:
        """Attach later truths to records; `dry_run` only says what would become of each.

        Raises:
            Refusal: 400, one of them can't be understood; nothing is attached then.
        """
        limits = runtime.settings.limits
        fields = json_fields(await read_body(http, _TRUTHS_BODY, limits.body_deadline), ("truths", "dry_run"))
        told, dry_run = told_truths(fields, time.time())
        attachments = await self._engine.ledger.truths.attach(told, dry_run=dry_run)
        metrics = self._engine.metrics
        if not dry_run:
            for one, attachment in zip(told, attachments, strict=True):
                metrics.reconciled(attachment.result.value, attachment.record, one.truth, attachment.before)
        counts = {result.value: 0 for result in Attached}
        for attachment in attachments:
            counts[attachment.result.value] += 1
        data = [
            {"upstream_id": one.upstream_id, "result": attachment.result.value, "task_id": _task_id(attachment.record)}
            for one, attachment in zip(told, attachments, strict=True)
        ]
        return {"object": "ledger.truths", "dry_run": dry_run, "counts": counts, "data": data}

    async def untold(self, http: web.BaseRequest, _runtime: Runtime) -> dict[str, Any]:
        """Ended records of an upstream of which a source has said nothing yet; a page of at most `limit`.

        Raises:
            Refusal: 400, a parameter is wrong.
        """
        given = parameters(http, ("upstream", "source", "after", "limit", "since", "until"))
        for name in ("upstream", "source"):
            if name not in given:
                raise Refusal.bad_request("invalid_parameter", f"{name} is missing.", name)
        after = whole_number("after", given.get("after", "0"), 0, _LAST)
        limit = whole_number("limit", given.get("limit", str(MOST_TRUTHS)), 1, MAX_PAGE)
        found = await self._engine.ledger.truths.untold(
            given["upstream"], given["source"], after, limit, span(given, time.time())
        )
        cursor = str(found[-1].position) if len(found) == limit else None
        return {"object": "list", "data": [each.upstream_id for each in found], "next_cursor": cursor}

    async def drift(self, http: web.BaseRequest, _runtime: Runtime) -> dict[str, Any]:
        """How far our numbers are from what each source said last, for each upstream, model and source.

        Raises:
            Refusal: 400, a parameter is wrong.
        """
        given = parameters(http, ("since", "until"))
        rows = await self._engine.ledger.truths.drift(span(given, time.time()))
        return {"object": "list", "data": [_drift(row) for row in rows]}


def _lines(page: OutboxPage, *, text: bool) -> bytes:
    return b"".join(json.dumps(exported(each, text=text)).encode() + b"\n" for each in page.settled)


def _task_id(record: Any) -> str | None:
    return None if record is None else record.task_id


def _yes(given: dict[str, str], name: str) -> bool:
    value = given.get(name, "false")
    if value not in ("true", "false"):
        raise Refusal.bad_request("invalid_parameter", f"{name} must be true or false.", name)
    return value == "true"


def _drift(row: Drift) -> dict[str, Any]:
    return {
        "upstream": row.upstream,
        "model": row.model,
        "source": row.source,
        "records": row.records,
        "not_compared": row.not_compared,
        "prompt_tokens": _compared(row.prompt_ours, row.prompt_theirs),
        "completion_tokens": _compared(row.completion_ours, row.completion_theirs),
        "cost": {
            currency: {"ours": cost_text(ours), "theirs": cost_text(theirs), "percent": _percent(ours, theirs)}
            for currency, (ours, theirs) in sorted(row.costs.items())
        },
    }


def _compared(ours: int | None, theirs: int | None) -> dict[str, Any]:
    percent = None if ours is None or theirs is None else _percent(Decimal(ours), Decimal(theirs))
    return {"ours": ours, "theirs": theirs, "percent": percent}


def _percent(ours: Decimal, theirs: Decimal) -> float | None:
    """By how much theirs is more than ours; unknown where there is nothing to compare it with."""
    return None if not ours else round(float((theirs - ours) / ours * 100), 3)
