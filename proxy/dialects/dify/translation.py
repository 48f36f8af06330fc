"""What a Dify app says of one generation: events of a message, its end with usage, or the blocking answer.

Source: Dify's API documentation; a stopped message ends like a complete one, there is no marker but our `stop_reason`.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from proxy.core.conversation import MessageStatus
from proxy.core.deltas import Delta, DeltaKind
from proxy.core.errors import Refusal
from proxy.core.generation import Facts
from proxy.core.lifecycle import Outcome
from proxy.core.sse import encode_event
from proxy.core.usage import Usage
from proxy.dialects.dify.errors import code_of
from proxy.engine.translation import KeepAlive, Over, Stored

PING: Final = KeepAlive(10.0, b"event: ping\n\n", idle=False)


class MessageTranslation:
    """A message of a completion or chat app."""

    keep_alive = PING

    def __init__(self, mode: str, conversation_id: str | None = None) -> None:
        """`mode` is the app's; a chat's events carry its conversation's id."""
        self._mode = mode
        self._conversation = {} if conversation_id is None else {"conversation_id": conversation_id}
        self._head: dict[str, Any] = {}

    def begin(self, facts: Facts) -> bytes:
        """Nothing comes before the first token: Dify has no event for it."""
        self._head = {
            "task_id": facts.task_id,
            "id": facts.message_id,
            "message_id": facts.message_id,
            **self._conversation,
            "created_at": int(facts.started_wall),
        }
        return b""

    def answered(self, now: float) -> bytes:  # noqa: ARG002 nothing is said then
        """Nothing."""
        return b""

    def deltas(self, deltas: Sequence[Delta], now: float) -> bytes:  # noqa: ARG002 times are the message's own
        """A `message` for each piece of text."""
        return b"".join(
            event({"event": "message", **self._head, "answer": delta.text})
            for delta in deltas
            if delta.kind is DeltaKind.TEXT and delta.text
        )

    def ending(self, over: Over) -> bytes:
        """`message_end` with the usage, also of a stopped message; `error` where something went wrong."""
        if over.refusal is not None:
            return self._error(over.refusal)
        return event({"event": "message_end", **self._head, "metadata": metadata(over), "files": None})

    def answer(self, over: Over) -> bytes:
        """The whole message."""
        found = {"event": "message", **self._head, "mode": self._mode, "answer": over.partial.text()}
        return json.dumps({**found, "metadata": metadata(over)}).encode()

    def stored(self, over: Over) -> Stored | None:
        """The message as far as it came; one that came to nothing is not kept."""
        return stored(over, metadata(over))

    def _error(self, refusal: Refusal) -> bytes:
        return event(error(refusal, self._head["message_id"], self._head["created_at"]))


def event(found: Mapping[str, Any]) -> bytes:
    """One event; its name is in its data."""
    return encode_event(json.dumps(found, separators=(",", ":")).encode())


def error(refusal: Refusal, message_id: str, created_at: int) -> dict[str, Any]:
    """The data of an `error` event, which has no task id."""
    status, code = code_of(refusal)
    words = {"code": code, "message": refusal.message, "status": status}
    return {"event": "error", "message_id": message_id, "created_at": created_at, **words}


def metadata(over: Over) -> dict[str, Any]:
    """The metadata of an end: usage, and of a stopped message by whom."""
    found: dict[str, Any] = {"usage": usage(over.usage, over.elapsed), "retriever_resources": []}
    if over.is_stopped and over.cause is not None:
        found["stop_reason"] = "user_manual" if over.outcome is Outcome.CANCELLED else over.cause.value
    return found


def usage(counted: Usage, latency: float) -> dict[str, Any]:
    """The usage object: unknown counts are 0 and unknown prices "0", as clients calculate with them."""
    return {
        "prompt_tokens": counted.prompt_tokens or 0,
        "prompt_unit_price": "0",
        "prompt_price_unit": "0",
        "prompt_price": "0",
        "completion_tokens": counted.completion_tokens or 0,
        "completion_unit_price": "0",
        "completion_price_unit": "0",
        "completion_price": "0",
        "total_tokens": counted.total_tokens or 0,
        "total_price": "0",
        "currency": "USD",
        "latency": round(latency, 3),
    }


def stored(over: Over, details: dict[str, Any]) -> Stored:
    """What is kept of an answer."""
    if over.refusal is not None:
        status = MessageStatus.FAILED
    else:
        status = MessageStatus.CANCELLED if over.is_stopped else MessageStatus.COMPLETED
    return Stored(status, over.partial.text(), metadata=details)
