"""What a generation says as a response, and what is kept of it. Source: OpenAI's API reference (streaming events).

A stopped response ends with `response.cancelled` and the whole object: status `cancelled`, output as far as it came.
"""

import json
from collections.abc import Sequence
from typing import Any, Final

from proxy.core.conversation import MessageStatus
from proxy.core.deltas import Delta
from proxy.core.errors import Refusal
from proxy.core.generation import Facts
from proxy.core.usage import Usage
from proxy.dialects.responses.draft import Draft
from proxy.engine.translating.translation import Over, Stored
from proxy.wire.responses_shapes import usage_object

INCOMPLETE: Final = {"length": "max_output_tokens", "content_filter": "content_filter"}
"""Of an upstream's reasons to finish those that leave a response incomplete."""
TOO_MANY: Final = 429


class ResponseTranslation:
    """One response. `details` is what the store has of it from its start."""

    keep_alive = None

    def __init__(self, draft: Draft, details: dict[str, Any]) -> None:
        self.draft = draft
        self.final: dict[str, Any] | None = None
        """The whole response, once it has ended."""
        self._details = details
        self._answered = False
        self._last = b""

    @property
    def _background(self) -> bool:
        return bool(self._details["shown"]["background"])

    @property
    def streams(self) -> bool:
        """Whether it was asked for as a stream."""
        return bool(self._details["streams"])

    def begin(self, facts: Facts) -> bytes:  # noqa: ARG002 its ids are chosen before
        """A response in the background begins at once; another one's refusal by the upstream is its own answer."""
        return self.draft.begin() if self._background else b""

    def answered(self, now: float) -> bytes:  # noqa: ARG002 the API's events have no times
        """The model is at work."""
        return self._answer()

    def _answer(self) -> bytes:
        self._answered = True
        begun = b"" if self._background else self.draft.begin()
        return begun + self.draft.answered()

    def deltas(self, deltas: Sequence[Delta], now: float) -> bytes:  # noqa: ARG002 the API's events have no times
        """Items and parts begin, grow and end."""
        if not self._answered:  # of one that nobody reads as a stream nothing is said before
            self._answer()
        return b"".join(self.draft.add(delta) for delta in deltas)

    def ending(self, over: Over) -> bytes:
        """The last events."""
        self._finish(over)
        return self._last

    def answer(self, over: Over) -> bytes:
        """The whole response."""
        self._finish(over)
        return json.dumps(self.final).encode()

    def stored(self, over: Over) -> Stored:
        """All that the response, and its stream, are shown again from."""
        final = self._finish(over)
        status = {
            "cancelled": MessageStatus.CANCELLED,
            "failed": MessageStatus.FAILED,
        }.get(final["status"], MessageStatus.COMPLETED)
        end = {"status": final["status"], "answered": self._answered, "log": self.draft.log, "fields": self.draft.end}
        return Stored(
            status, over.partial.text(), content={"output": final["output"]}, metadata={**self._details, "end": end}
        )

    def _finish(self, over: Over) -> dict[str, Any]:
        """The end, decided once."""
        if self.final is not None:
            return self.final
        status, end = _end(over)
        begun = b"" if self._answered or self._background else self._answer()  # it ended just when it was to begin
        self._last = begun + self.draft.finish(status, usage_object(_usage(over)), **end)
        self.final = self.draft.object()
        return self.final


def _end(over: Over) -> tuple[str, dict[str, Any]]:
    """The status of a response that is over, and the fields that say why."""
    if over.refusal is not None:
        return "failed", {"error": error_of(over.refusal)}
    if over.is_stopped:
        return "cancelled", {}
    reason = INCOMPLETE.get(over.partial.finish_reasons.get(0, ""))
    if reason is not None:
        return "incomplete", {"incomplete_details": {"reason": reason}}
    return "completed", {"completed_at": int(over.wall)}


def error_of(refusal: Refusal) -> dict[str, str]:
    """What went wrong, in one of the few codes that the API has for it."""
    code = "rate_limit_exceeded" if refusal.status == TOO_MANY else "server_error"
    return {"code": code, "message": refusal.message}


def _usage(over: Over) -> Usage:
    """What was used; nothing was produced is known, whoever counts."""
    usage = over.usage
    if usage.completion_tokens is None and not over.partial.counted_characters:
        return Usage(usage.prompt_tokens, 0, usage.cached_tokens, usage.reasoning_tokens)
    return usage
