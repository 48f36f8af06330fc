"""How a generation's end looks on its run and its message. Source: OpenAI's API reference (run lifecycle).

Only who asked for a stop gets `cancelled`. A server that shuts down or refuses to pay has failed its caller.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from proxy.core.conversation import MessageStatus
from proxy.core.errors import Refusal, Source
from proxy.core.lifecycle import Cause
from proxy.dialects.assistants.content import FAILED
from proxy.engine.translating.translation import Over

SERVER_ERROR: Final = 500
TOO_MANY: Final = 429
CREDENTIAL: Final = (401, 402, 403, 404, 407, 408)
"""What an upstream refuses for reasons that no prompt can mend."""


@dataclass(frozen=True, slots=True)
class End:
    """The run's status and what else it says; the message's status, and the `reason` for which it is incomplete."""

    status: str
    message_status: MessageStatus
    reason: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_cancel(self) -> bool:
        """Whether somebody cancelled it."""
        return self.status == "cancelled"


CANCELLED: Final = End("cancelled", MessageStatus.CANCELLED, "run_cancelled")
EXPIRED: Final = End("expired", MessageStatus.CANCELLED, "run_expired")
COMPLETED: Final = End("completed", MessageStatus.COMPLETED)
FILTERED: Final = End("incomplete", MessageStatus.COMPLETED, "content_filter", {"incomplete_details": {}})
CUT: Final = End(
    "incomplete",
    MessageStatus.COMPLETED,
    "max_tokens",
    {"incomplete_details": {"reason": "max_completion_tokens"}},
)
FINISHED: Final = {"length": CUT, "content_filter": FILTERED}
"""By the reason with which the model finished; every other one is complete."""
FAILURES: Final = {
    Cause.SHUTDOWN: ("server_error", "The server is shutting down."),
    Cause.BUDGET: ("rate_limit_exceeded", "A budget of the server is used up."),
}
"""Stops that are no cancel: `last_error` says why."""


def end_of(over: Over) -> End:
    """What the run and its message are in the end, if the model wants no tools."""
    if over.refusal is not None:
        return _failed(_code(over.refusal), over.refusal.message)
    if over.cause is not None:
        return _stopped(over.cause)
    if over.partial.clipped and over.partial.tool_calls():
        return _failed("server_error", "The model's tool calls are longer than limits.partial_text.")
    return FINISHED.get(over.partial.finish_reasons.get(0, ""), COMPLETED)


def _stopped(cause: Cause) -> End:
    if cause in FAILURES:
        return _failed(*FAILURES[cause])
    return EXPIRED if cause is Cause.DEADLINE else CANCELLED


def _failed(code: str, message: str) -> End:
    return End("failed", MessageStatus.FAILED, FAILED, {"last_error": {"code": code, "message": message}})


def _code(refusal: Refusal) -> str:
    """The API's word for what went wrong."""
    if refusal.status == TOO_MANY:
        return "rate_limit_exceeded"
    is_request = refusal.source is Source.UPSTREAM and refusal.status < SERVER_ERROR
    return "invalid_prompt" if is_request and refusal.status not in CREDENTIAL else "server_error"
