"""Between a record and its row: what SQLite can't hold is made harmless here, at the border.

A row that the database refuses would hold up every other write in its transaction, so nothing foreign gets past this
file: no lone surrogate, no number wider than 64 bits.
"""

import json
from collections.abc import Sequence
from typing import Any, Final, TypeAlias

from proxy.core.lifecycle import Cause, Outcome, Phase
from proxy.core.money import cost_of, cost_units
from proxy.core.record import Known, Record, Settlement, UsageSource

Row: TypeAlias = tuple[str | int | float | None, ...]
"""The values of one row of `tables.generation`, in the order of its columns."""

_to_json: Final = json.JSONEncoder(ensure_ascii=False).encode
"""Made once: `json.dumps` with an option makes an encoder a call, which takes most of a row's time."""

_COUNT_MAX: Final = 10**12
"""A larger token count is nonsense; and 9 million records of this size can be summed in 64 bits."""


def clean(text: str) -> str:
    """The text with lone surrogates replaced by U+FFFD, as UTF-8 needs it."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def row_of(record: Record, text: str | None) -> Row:
    """The row of a record, with `text` (already clean) as its text."""
    return (
        clean(record.uid),
        clean(record.identity),
        clean(record.task_id),
        clean(record.message_id),
        record.dialect,
        clean(record.route),
        clean(record.upstream),
        record.started_at,
        clean(record.key_id),
        clean(record.replica),
        _clean(record.model),
        _clean(record.user),
        _tags(record.tags) if record.tags else "{}",
        _clean(record.upstream_id),
        _clean(record.upstream_model),
        record.first_token_at,
        record.ended_at,
        record.outcome.value,
        None if record.cause is None else record.cause.value,
        _clean(record.cancelled_by),
        _clean(record.reason),
        _count(record.prompt_tokens),
        _count(record.completion_tokens),
        _count(record.cached_tokens),
        _count(record.reasoning_tokens),
        record.usage_source.value,
        None if record.cost is None else cost_units(record.cost),
        _clean(record.currency),
        _count(record.characters),
        int(record.text_clipped),
        _clean(record.error_kind),
        record.phase.value,
        record.elapsed_seconds,
        record.upstream_closed_ms,
        record.settlement.value,
        record.price,
        _clean(record.encoding),
        _count(record.max_tokens),
        _count(record.late_tokens),
        _count(record.saved_most),
        _count(record.saved_typical),
        text,
    )


def known_row(uid: str, known: Known) -> Row:
    """The values of `statements.NOTE`."""
    return (
        known.phase.value,
        _clean(known.upstream_id),
        _clean(known.upstream_model),
        known.first_token_at,
        _count(known.prompt_tokens),
        _count(known.completion_tokens),
        _count(known.cached_tokens),
        _count(known.reasoning_tokens),
        known.usage_source.value,
        _count(known.characters),
        int(known.text_clipped),
        clean(uid),
    )


def stopped_row(record: Record) -> Row:
    """The values of `statements.STOP`."""
    return (
        record.phase.value,
        _clean(record.upstream_id),
        _clean(record.upstream_model),
        record.first_token_at,
        None if record.cause is None else record.cause.value,
        _clean(record.cancelled_by),
        _clean(record.reason),
        *_counts(record),
        int(record.text_clipped),
        record.elapsed_seconds,
        _count(record.late_tokens),
        _count(record.saved_most),
        _count(record.saved_typical),
        clean(record.uid),
    )


def counted_row(record: Record) -> Row:
    """The values of `statements.COUNTED`."""
    return (
        *_counts(record),
        clean(record.uid),
    )


def _counts(record: Record) -> Row:
    """What was counted and what it costs, in the order that END and `COUNTED` share."""
    return (
        _count(record.prompt_tokens),
        _count(record.completion_tokens),
        _count(record.cached_tokens),
        _count(record.reasoning_tokens),
        record.usage_source.value,
        _clean(record.encoding),
        None if record.cost is None else cost_units(record.cost),
        _clean(record.currency),
        record.price,
        _count(record.characters),
    )


def record_of(row: Sequence[Any]) -> Record:
    """The record of a row; the inverse of `row_of`."""
    return Record(
        uid=row[0],
        identity=row[1],
        task_id=row[2],
        message_id=row[3],
        dialect=row[4],
        route=row[5],
        upstream=row[6],
        started_at=row[7],
        key_id=row[8],
        replica=row[9],
        model=row[10],
        user=row[11],
        tags=json.loads(row[12]),
        upstream_id=row[13],
        upstream_model=row[14],
        first_token_at=row[15],
        ended_at=row[16],
        outcome=Outcome(row[17]),
        cause=None if row[18] is None else Cause(row[18]),
        cancelled_by=row[19],
        reason=row[20],
        prompt_tokens=row[21],
        completion_tokens=row[22],
        cached_tokens=row[23],
        reasoning_tokens=row[24],
        usage_source=UsageSource(row[25]),
        cost=None if row[26] is None else cost_of(row[26]),
        currency=row[27],
        characters=row[28],
        text_clipped=bool(row[29]),
        error_kind=row[30],
        phase=Phase(row[31]),
        elapsed_seconds=row[32],
        upstream_closed_ms=row[33],
        settlement=Settlement(row[34]),
        price=row[35],
        encoding=row[36],
        max_tokens=row[37],
        late_tokens=row[38],
        saved_most=row[39],
        saved_typical=row[40],
        text=row[41],
    )


def _clean(text: str | None) -> str | None:
    return None if text is None else clean(text)


def _count(number: int | None) -> int | None:
    return number if number is not None and 0 <= number <= _COUNT_MAX else None


def _tags(tags: dict[str, str]) -> str:
    return _to_json({clean(name): clean(value) for name, value in tags.items()})
