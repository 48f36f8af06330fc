"""The wire format of OpenAI's Responses API. Source: OpenAI's API reference; what real servers send of it.

A stopped stream ends with the event `response.cancelled` and the whole response as far as it came. The API documents no
such event; it has none for a stop at all. Nothing is ever added to a request: usage comes with the last event.
"""

# ruff: noqa: ARG002 - the protocol's parameters, which mean nothing in this format

import json
from typing import Any, Final

from proxy.core import sse
from proxy.core.partial import Partial
from proxy.core.usage import Usage
from proxy.wire.chunks import read_quickly
from proxy.wire.openai_fold import DONE, usable_id
from proxy.wire.responses_fold import fold_event, fold_whole
from proxy.wire.responses_outline import outline_of
from proxy.wire.responses_shapes import CANCELLED, STREAM_ERROR, response_object


class OpenAIResponses:
    """Responses: items that grow, and an event of its own for every step."""

    name: Final = "openai_responses"

    def fold(self, block: bytes, partial: Partial) -> None:
        """See `Wire`."""
        if not block:
            return
        for event in sse.events(block, at_start=partial.at_start):
            fold_event(event.data, partial)
        partial.at_start = False

    def fold_answer(self, body: bytes, partial: Partial) -> None:
        """See `Wire`."""
        fold_whole(body, partial)

    def closing(
        self,
        partial: Partial,
        *,
        finish_reason: str,
        usage: Usage | None,
        comment: str,
        answer_id: str = "",
        model: str = "",
        created: int = 0,
    ) -> bytes:
        """See `Wire`. What ended by itself needs no closing; what had not begun begins first, as clients want it."""
        if partial.done or partial.terminal or partial.error is not None:
            return b""
        outline = outline_of(partial)
        ident = partial.upstream_id or f"resp_{answer_id.replace('-', '')}"
        known: dict[str, Any] = {
            "ident": ident,
            "model": partial.upstream_model or model,
            "created_at": created if partial.created is None else partial.created,
        }
        said = sse.comment(comment)
        number = outline.next_number
        if not number:
            begun = response_object(outline.fields, status="in_progress", output=[], **known)
            said += _frame("response.created", number, response=begun)
            number += 1
        output = outline.output(partial, ident)
        ended = response_object(outline.fields, status="cancelled", output=output, usage=usage, **known)
        return said + _frame(CANCELLED, number, response=ended)

    def error_frame(self, partial: Partial, message: str, type_: str, code: str) -> bytes:
        """See `Wire`."""
        number = outline_of(partial).next_number
        return _frame(STREAM_ERROR, number, code=code, message=message, param=None)

    def ask_for_usage(self, body: bytes, *, continuous: bool = False) -> bytes:
        """See `Wire`."""
        return body

    def countable(self, body: bytes) -> bytes:
        """See `Wire`."""
        return body

    def is_extra_usage(self, data: bytes) -> bool:
        """See `Wire`."""
        return False

    def without_extra_usage(self, block: bytes) -> bytes:
        """See `Wire`."""
        return block

    def without_running_usage(self, block: bytes, *, null: bool) -> bytes:
        """See `Wire`."""
        return block

    def peek_id(self, block: bytes) -> str | None:
        """See `Wire`."""
        for event in sse.events(block, at_start=True):
            response = (read_quickly(event.data) or {}).get("response")
            ident = response.get("id") if isinstance(response, dict) else None
            if isinstance(ident, str) and (usable := usable_id(ident)):
                return usable
        return None

    def is_done(self, block: bytes) -> bool:
        """See `Wire`. The API has no terminator; some servers send that of chat completions."""
        found = sse.events(block, at_start=True) if DONE in block else []
        return bool(found) and found[-1].data.strip() == DONE


def _frame(kind: str, number: int, **fields: Any) -> bytes:
    found = {"type": kind, "sequence_number": number, **fields}
    return sse.encode_event(json.dumps(found, separators=(",", ":")).encode(), kind)
