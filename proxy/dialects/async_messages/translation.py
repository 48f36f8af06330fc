"""What a generation says as an async message, and what is kept of it. Sources: PrivateGPT, Anthropic (streaming).

A stopped message gets a well-formed close: every open block is closed, `stop_reason` is `cancelled`, the usage is that
of the partial. One that failed ends with an `error` event.
"""

from collections.abc import Sequence
from typing import Any, Final

from proxy.core.conversation import MessageStatus
from proxy.core.deltas import Delta
from proxy.core.generation import Facts
from proxy.core.partial import Partial
from proxy.dialects.async_messages.blocks import Blocks
from proxy.dialects.async_messages.errors import error_object
from proxy.dialects.async_messages.events import PING, Events, ending, failure
from proxy.engine.translating.translation import Over, Stored

REASONS: Final = {
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}
"""An upstream's reasons to finish that have a word of their own; any other is `end_turn`."""


class MessageTranslation:
    """One message."""

    keep_alive = PING

    def __init__(self, message_id: str, events: Events, details: dict[str, Any]) -> None:
        """`message_id` is the id of the stream; `details` are the stored message's metadata from its start."""
        self._message_id = message_id
        self._events = events
        self._details = details
        self._blocks = Blocks(events)
        self.changed: float | None = None
        """When something was added last; None: nothing was yet."""

    @property
    def is_processing(self) -> bool:
        """Whether the first block has begun."""
        return bool(self._blocks)

    def begin(self, facts: Facts) -> bytes:  # noqa: ARG002 its ids are chosen before
        """`message_start`: whoever started the message has had its answer, so the stream begins by itself."""
        return self._events.start()

    def answered(self, now: float) -> bytes:  # noqa: ARG002 nothing is said then
        """Nothing."""
        return b""

    def deltas(self, deltas: Sequence[Delta], now: float) -> bytes:
        """Blocks begin, grow and stop."""
        self.changed = now
        return b"".join(self._blocks.add(delta, now) for delta in deltas)

    def so_far(self, partial: Partial) -> bytes:
        """The stream from its first event to now, for a reader of a long one whose beginning is no longer kept."""
        return self._events.start() + self._events.contents(self._blocks.contents(partial))

    def ending(self, over: Over) -> bytes:
        """The end: well-formed, unless something went wrong."""
        if over.refusal is not None:
            return failure(error_object(over.refusal), self._message_id)
        return self._blocks.close(over.wall) + ending(self._stop_reason(over), usage(over))

    def answer(self, over: Over) -> bytes:  # noqa: ARG002 every message is a stream
        """Nothing: nobody waits for the whole message at the call that starts it."""
        return b""

    def stored(self, over: Over) -> Stored:
        """All that the stream is said again from."""
        found = self._blocks.contents(over.partial)
        end: dict[str, Any]
        if over.refusal is not None:
            status, end = MessageStatus.FAILED, {"error": error_object(over.refusal)}
        else:
            status = MessageStatus.CANCELLED if over.is_stopped else MessageStatus.COMPLETED
            end = {"stop_reason": self._stop_reason(over), "usage": usage(over)}
            for block in found:
                block["stop"] = over.wall if block["stop"] is None else block["stop"]
        return Stored(status, over.partial.text(), content=found, metadata={**self._details, **end})

    def _stop_reason(self, over: Over) -> str:
        if over.is_stopped:
            return "cancelled"
        if self._blocks.refuses:
            return "refusal"
        reason = over.partial.finish_reasons.get(0, "")
        if reason == "stop" and over.partial.tool_calls():  # some servers say so of a forced call
            return "tool_use"
        return REASONS.get(reason, "end_turn")


def usage(over: Over) -> dict[str, int | None]:
    """The usage of an end. What is not known is left out, or null where Anthropic's readers want a field."""
    counted, partial = over.usage, over.partial
    output = counted.completion_tokens
    if output is None and not partial.counted_characters:
        output = 0  # nothing was produced, whoever counts
    known = {} if counted.prompt_tokens is None else {"input_tokens": counted.prompt_tokens}
    return {**known, "output_tokens": output}
