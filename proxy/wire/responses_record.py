"""A response as the record of its generation has it: all that is left of one that is stored nowhere else."""

from typing import Any

from proxy.core.lifecycle import Outcome
from proxy.core.record import Record
from proxy.core.usage import Usage
from proxy.wire.responses_shapes import item_id, message_item, response_object, text_part


def response_of_record(record: Record, ident: str) -> dict[str, Any]:
    """A stopped response: the same now and after a restart. Of calls and reasoning a record knows nothing."""
    item = message_item(item_id(ident, "msg", 0), [text_part(record.text or "")], "incomplete")
    return response_object(
        {},
        ident=ident,
        model=record.upstream_model or record.model or "",
        created_at=record.started_at,
        status="in_progress" if record.outcome is Outcome.RUNNING else "cancelled",
        output=[item] if record.text else [],
        usage=Usage(record.prompt_tokens, record.completion_tokens, record.cached_tokens, record.reasoning_tokens),
    )
