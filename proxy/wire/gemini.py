"""The wire format of Gemini's `generateContent` and `streamGenerateContent?alt=sse`. Source: Google's API reference.

There is no terminator: a stream is over when each candidate has its `finishReason`. A stopped one gets a last answer
that gives it to those without: `STOP`, or with `finish_reason: cancelled` `OTHER`, of the words that clients know the
one that fits. Task id and cause stand in its `finishMessage`, because Google's own clients break at an SSE comment.
"""

# ruff: noqa: ARG002 - the protocol's parameters, which mean nothing in this format

import json
from typing import Any, Final

from proxy.core import sse
from proxy.core.partial import Partial
from proxy.core.usage import Usage
from proxy.wire.gemini_fold import fold_bare, fold_event, fold_whole, read
from proxy.wire.gemini_shapes import error_object
from proxy.wire.openai_fold import DONE, usable_id

_FINISH_REASONS: Final = {"stop": "STOP", "cancelled": "OTHER"}
_STATUS_OF: Final = {"upstream_idle_timeout": 504, "upstream_total_timeout": 504, "internal_error": 500}


class Gemini:
    """Answers: each event of a stream is one, with the next parts."""

    name: Final = "gemini"

    def fold(self, block: bytes, partial: Partial) -> None:
        """See `Wire`."""
        if not block:
            return
        at_start, partial.at_start = partial.at_start, False
        data = sse.plain_data(block.replace(b"\r\n", b"\n"))  # the API ends lines so; within JSON there is no such byte
        if data is not None:
            for each in data:
                fold_event(each, partial)
            return
        for number, (raw, counts) in enumerate(sse.slices(block, at_start=at_start)):
            if counts:
                for event in sse.events(raw, at_start=at_start and not number):
                    fold_event(event.data, partial)
            else:
                fold_bare(raw, partial)

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
        """See `Wire`. What ended by itself needs no closing."""
        if partial.done or partial.error is not None or partial.all_finished():
            return b""
        reason = {"finishReason": _FINISH_REASONS.get(finish_reason, "OTHER"), "finishMessage": comment}
        content = {"parts": [{"text": ""}], "role": "model"}
        still_open = sorted(set(partial.choices or (0,)) - set(partial.finish_reasons))
        last: dict[str, Any] = {"candidates": [{"content": content, **reason, "index": index} for index in still_open]}
        if (counts := _usage_metadata(usage)) is not None:
            last["usageMetadata"] = counts
        last["modelVersion"] = partial.upstream_model or model
        last["responseId"] = partial.upstream_id or answer_id
        return _frame(last)

    def error_frame(self, partial: Partial, message: str, type_: str, code: str) -> bytes:
        """See `Wire`."""
        return _frame(error_object(_STATUS_OF.get(code, 502), message))

    def ask_for_usage(self, body: bytes, *, continuous: bool = False) -> bytes:
        """See `Wire`. Usage always comes."""
        return body

    def countable(self, body: bytes) -> bytes:
        """See `Wire`. Contents are messages here, and the system prompt stands beside them."""
        request = read(body) or {}
        given = request.get("contents")
        contents = given if isinstance(given, list) else [given]
        system = request.get("systemInstruction", request.get("system_instruction"))
        messages = [
            {"role": each.get("role"), "content": each.get("parts")}
            for each in (system, *contents)
            if isinstance(each, dict)
        ]
        return json.dumps({"messages": messages}).encode()

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
        for each in sse.events(block, at_start=True):
            ident = (read(each.data) or {}).get("responseId")
            if isinstance(ident, str) and (usable := usable_id(ident)):
                return usable
        return None

    def is_done(self, block: bytes) -> bool:
        """See `Wire`. The API ends with the body; some gateways add OpenAI's terminator."""
        found = sse.events(block, at_start=True) if DONE in block else []
        return bool(found) and found[-1].data.strip() == DONE


def _usage_metadata(usage: Usage | None) -> dict[str, int] | None:
    """The counts in the API's words; what is unknown is left out."""
    if usage is None:
        return None
    completion, thought = usage.completion_tokens, usage.reasoning_tokens
    found = {
        "promptTokenCount": usage.prompt_tokens,
        "cachedContentTokenCount": usage.cached_tokens,
        "candidatesTokenCount": None if completion is None else max(completion - (thought or 0), 0),
        "thoughtsTokenCount": thought,
        "totalTokenCount": usage.total_tokens,
    }
    return {name: count for name, count in found.items() if count is not None} or None


def _frame(found: dict[str, Any]) -> bytes:
    return sse.encode_event(json.dumps(found, separators=(",", ":")).encode())
