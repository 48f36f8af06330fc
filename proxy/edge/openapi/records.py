"""The schemas of generations: the record, the live row, receipts, lists, and the feed's events."""

from typing import Final

from proxy.core.lifecycle import CancelResult, Cause, Outcome, Phase
from proxy.core.live_row import STATES
from proxy.core.record import Settlement, UsageSource
from proxy.edge.openapi.schema_words import (
    COUNT,
    MOMENT,
    MONEY,
    NUMBER,
    TAGS,
    TEXT,
    TEXTS,
    YES_NO,
    Schema,
    about,
    const,
    items,
    obj,
    one_of_words,
    or_null,
    ref,
)

_PHASE: Final = or_null(one_of_words(Phase))
_OUTCOME: Final = one_of_words(Outcome)
_CAUSE: Final = about(or_null(one_of_words(Cause)), "Who asked for the stop.")
_SOURCE: Final = about(one_of_words(UsageSource), "Where the counts come from, from exact to unknown.")
_TOKENS: Final = or_null(COUNT)

_IDS: Final[dict[str, Schema]] = {
    "task_id": about(TEXT, "Names the work; what one stops."),
    "message_id": about(TEXT, "Names the answer."),
    "upstream_id": about(or_null(TEXT), "The upstream's own id."),
}
_FACTS: Final[dict[str, Schema]] = {
    "dialect": TEXT,
    "route": TEXT,
    "upstream": TEXT,
    "model": about(or_null(TEXT), "The one asked for."),
    "key_id": about(TEXT, "Who called: a key's id, or the first digits of a credential's hash."),
    "user": or_null(TEXT),
    "tags": TAGS,
    "replica": TEXT,
}
_RECORD: Final[dict[str, Schema]] = {
    "object": const("generation"),
    **_IDS,
    **_FACTS,
    "upstream_model": about(or_null(TEXT), "The one that answered."),
    "started_at": MOMENT,
    "first_token_at": or_null(MOMENT),
    "ended_at": or_null(MOMENT),
    "outcome": _OUTCOME,
    "cause": _CAUSE,
    "cancelled_by": or_null(TEXT),
    "reason": or_null(TEXT),
    "prompt_tokens": _TOKENS,
    "completion_tokens": _TOKENS,
    "cached_tokens": _TOKENS,
    "reasoning_tokens": _TOKENS,
    "usage_source": _SOURCE,
    "cost": or_null(MONEY),
    "currency": or_null(TEXT),
    "characters": _TOKENS,
    "text_clipped": YES_NO,
    "error_kind": or_null(TEXT),
    "phase": about(_PHASE, "Where a stop met it, or where it is."),
    "elapsed_seconds": or_null(NUMBER),
    "upstream_closed_ms": about(or_null(NUMBER), "From the stop to the upstream's close."),
    "settlement": one_of_words(Settlement),
    "price": about(or_null({"type": "object"}), "The unit prices that the cost was made with."),
    "encoding": or_null(TEXT),
    "max_tokens": _TOKENS,
    "late_tokens": _TOKENS,
    "saved_most": _TOKENS,
    "saved_typical": _TOKENS,
}
_UNCONFIRMED: Final[dict[str, Schema]] = {
    "unconfirmed": about(YES_NO, "True where the replica that runs it says nothing now.")
}
_CALLS: Final[dict[str, Schema]] = {
    "aliases": about(
        or_null(TEXTS),
        "What else its dialect calls it by: thread and run of Assistants, thread and response of Aitronos. Null where "
        "this replica does not have it in memory: it runs on another one, or ended more than a short time ago.",
    ),
    "format": about(or_null(TEXT), "Its upstream's wire format as configured now; null: none has its name."),
}
_TEXT: Final[dict[str, Schema]] = {
    "text": about(or_null(TEXT), "What the model wrote; null where none is kept, or the token may not see it."),
    "text_hidden": about(YES_NO, "True where the token may not see the text."),
}
_NOW: Final[dict[str, Schema]] = {
    "id": about(TEXT, "The message id."),
    "age_seconds": NUMBER,
    "state": about(one_of_words(STATES), "What it does now; `reading_on`: only its usage is still waited for."),
    "cancel_asked": YES_NO,
}
_ROW: Final[dict[str, Schema]] = {
    **_NOW,
    "task_id": _IDS["task_id"],
    "upstream_id": _IDS["upstream_id"],
    **_FACTS,
    "started_at": MOMENT,
    "first_token_at": or_null(MOMENT),
    "phase": _PHASE,
    "completion_tokens": about(_TOKENS, "So far."),
    "usage_source": _SOURCE,
    "characters": _TOKENS,
    "cost": about(or_null(MONEY), "So far."),
    "currency": or_null(TEXT),
}
_USAGE: Final = obj(prompt_tokens=_TOKENS, completion_tokens=_TOKENS, total_tokens=_TOKENS, source=_SOURCE)
_MISSING: Final[dict[str, Schema]] = {
    "complete": about(YES_NO, "False where something that lives elsewhere may be missing."),
    "unreachable": about(TEXTS, "Replicas that did not answer."),
}
_TABLE: Final[dict[str, Schema]] = {
    "at": MOMENT,
    "total": about(COUNT, "All that live."),
    "matched": about(COUNT, "Those that the filters choose."),
    "complete": _MISSING["complete"],
}
_GONE: Final = obj(
    id=TEXT,
    task_id=TEXT,
    outcome=_OUTCOME,
    cause=_CAUSE,
    elapsed_seconds=or_null(NUMBER),
    completion_tokens=_TOKENS,
    usage_source=_SOURCE,
    upstream_closed_ms=or_null(NUMBER),
)

RECORD_SCHEMAS: Final[dict[str, Schema]] = {
    "Generation": obj({**_TEXT, **_UNCONFIRMED}, **_RECORD),
    "OneGeneration": obj({**_TEXT, **_UNCONFIRMED}, **_RECORD, **_CALLS),
    "LiveGeneration": obj(_UNCONFIRMED, **_RECORD, **_NOW),
    "LiveRow": obj(**_ROW),
    "GenerationList": obj(
        object=const("list"),
        data=items({"anyOf": [ref("Generation"), ref("LiveGeneration")]}),
        next_cursor=about(or_null(TEXT), "Where the next page goes on; null on the last one."),
        **_MISSING,
    ),
    "Receipt": obj(
        {"text_hidden": _TEXT["text_hidden"]},
        object=const("generation.cancel"),
        task_id=TEXT,
        message_id=TEXT,
        result=about(one_of_words(CancelResult), "What really happened; `stopping`: not confirmed yet."),
        status=TEXT,
        cause=_CAUSE,
        phase=_PHASE,
        elapsed_seconds=or_null(NUMBER),
        upstream_closed_ms=or_null(NUMBER),
        partial=obj({"text_hidden": _TEXT["text_hidden"]}, characters=_TOKENS, text=or_null(TEXT)),
        usage=_USAGE,
        late_tokens=_TOKENS,
        saved_tokens=obj(most=_TOKENS, typical=_TOKENS),
    ),
    "StoppedMany": obj(
        {"dry_run": YES_NO, "matched": TEXTS},
        object=const("generation.cancel_many"),
        stopped=TEXTS,
        count=COUNT,
        unconfirmed=TEXTS,
        **_MISSING,
    ),
    "FeedPage": obj(**_TABLE, rows=items(ref("LiveRow"))),
    "FeedChange": obj(
        {"order": about(TEXTS, "The ids of all rows in their order, where that has changed.")},
        **_TABLE,
        rows=about(items(ref("LiveRow")), "Rows that are new or have changed."),
        gone=about(items(_GONE), "Rows whose generation is over."),
    ),
    "Exported": obj(
        _TEXT,
        **{**_RECORD, "id": TEXT, "revision": COUNT, "truth": or_null({"type": "object"})},
    ),
}
"""By name, for `components`."""
