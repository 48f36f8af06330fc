"""What is shown of a record: the record itself, and the receipt of a cancel (`contract.md`, sections 4 and 5)."""

import json
from datetime import UTC, datetime
from typing import Any

from proxy.core.begun import is_unconfirmed, phase_of
from proxy.core.generation import was_asked_for
from proxy.core.lifecycle import CancelResult, Outcome
from proxy.core.money import cost_text
from proxy.core.record import Record

TIMES = ("started_at", "first_token_at", "ended_at")
HIDDEN = frozenset({"uid", "identity"})
LIST_TEXT = 1000
"""Characters of a text that a list shows: a page of whole ones could be a hundred megabytes."""


def iso(seconds: float | None) -> str | None:
    """Seconds since the epoch as ISO 8601 in UTC with milliseconds."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def shown(record: Record, *, text: bool = True, most: int | None = None) -> dict[str, Any]:
    """A record as JSON shows it; without its text where the asker may not read it.

    One that runs elsewhere, of which that replica says nothing now, is marked `unconfirmed`.

    `most`: characters of the text that are shown; None: all. What is cut is said to be clipped.
    """
    fields = {name: getattr(record, name) for name in Record.__slots__ if name not in HIDDEN}
    fields["phase"] = phase_of(record)
    if is_unconfirmed(record):
        fields["unconfirmed"] = True
    for name in TIMES:
        fields[name] = iso(fields[name])
    if not text:
        del fields["text"]
    elif record.text is not None and most is not None and len(record.text) > most:
        fields |= {"text": record.text[:most], "text_clipped": True}
    fields["cost"] = None if record.cost is None else cost_text(record.cost)
    fields["price"] = None if record.price is None else json.loads(record.price)
    return {"object": "generation", **fields}


def usage_of(record: Record) -> dict[str, Any]:
    """The token counts of a record with their source; unknown is null."""
    prompt, completion = record.prompt_tokens, record.completion_tokens
    total = None if prompt is None or completion is None else prompt + completion
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": total,
        "source": record.usage_source.value,
    }


def cancel_result(record: Record) -> CancelResult:
    """What a cancel of this record achieved, whether it is the first one or a repeat."""
    if record.outcome is Outcome.RUNNING:
        return CancelResult.STOPPING
    return CancelResult.STOPPED if was_asked_for(record) else CancelResult.ALREADY_FINISHED


def receipt(record: Record) -> dict[str, Any]:
    """The native cancel's answer."""
    result = cancel_result(record)
    running, phase = record.outcome is Outcome.RUNNING, phase_of(record)
    return {
        "object": "generation.cancel",
        "task_id": record.task_id,
        "message_id": record.message_id,
        "result": result.value,
        "status": "cancelling" if running else record.outcome.value,
        "cause": record.cause.value if record.cause else None,
        "phase": None if phase is None else phase.value,
        "elapsed_seconds": record.elapsed_seconds,
        "upstream_closed_ms": record.upstream_closed_ms,
        "partial": {"characters": record.characters, "text": record.text},
        "usage": usage_of(record),
        "late_tokens": record.late_tokens,
        "saved_tokens": {"most": record.saved_most, "typical": record.saved_typical},
    }
