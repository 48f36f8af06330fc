"""What a response says of one generation: its events, or its one JSON.

Source: Aitronos' API documentation, the newest form of the stream: frames of `data:` with the event's name in the JSON.
`usage` is no documented key; clients leave it alone.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from proxy.core.conversation import MessageStatus
from proxy.core.deltas import Delta, DeltaKind
from proxy.core.errors import Refusal
from proxy.core.generation import Facts
from proxy.core.lifecycle import ASKED_FOR
from proxy.core.usage import Usage
from proxy.dialects.aitronos.blocks import Calls, Paragraphs, call_block, text_block
from proxy.dialects.aitronos.errors import code_of
from proxy.dialects.aitronos.turn import CANCELLED, Turn
from proxy.engine.translating.translation import KeepAlive, Over, Stored

HEARTBEAT_SECONDS: Final = 30.0
DONE: Final = b"data: [DONE]\n\n"
STOP_REASONS: Final = {"tool_calls": "tool_use", "function_call": "tool_use", "length": "max_tokens"}
"""Of an upstream's reasons to finish; every other one is `end_turn`."""


@dataclass(frozen=True, slots=True)
class Named:
    """The ids and labels of one response."""

    thread_id: str
    response_id: str
    user_message_id: str
    organization_id: str | None = None
    assistant_id: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


class ResponseTranslation:
    """One response, streamed or whole."""

    def __init__(self, named: Named, turn: Turn, *, structured: bool, ahead: float) -> None:
        """For a response.

        Args:
            named: its ids.
            turn: what it belongs to.
            structured: text goes out as blocks.
            ahead: seconds from the turn's start to this generation's.
        """
        self._named = named
        self._turn = turn
        self._ahead = ahead
        self._ids: dict[str, str] = {}
        self._reasons = False
        self._finish = ""
        self._paragraphs = Paragraphs() if structured else None
        self._calls = Calls()
        self._blocks: list[dict[str, Any]] = []
        self._length = 0
        self._last: bytes | None = None
        self.keep_alive = KeepAlive(HEARTBEAT_SECONDS, event("response.heartbeat", thread_id=named.thread_id))
        """A heartbeat in long pauses."""

    def begin(self, facts: Facts) -> bytes:
        """`response.processing`: from here on the client can cancel."""
        self._ids = {"user_id": facts.identity.shown, "trace_id": facts.task_id}
        message = "Your request is being processed."
        return event("response.processing", status="processing", thread_id=self._named.thread_id, message=message)

    def answered(self, now: float) -> bytes:  # noqa: ARG002 the API's events have no times
        """`response.created`."""
        named = self._named
        assistant = {} if named.assistant_id is None else {"assistant_id": named.assistant_id}
        return event(
            "response.created",
            status="in_progress",
            thread_id=named.thread_id,
            response_id=named.response_id,
            org_id=named.organization_id,
            user_message_id=named.user_message_id,
            is_summarized=False,
            **self._ids,
            **assistant,
        )

    def deltas(self, deltas: Sequence[Delta], now: float) -> bytes:  # noqa: ARG002 the API's events have no times
        """An event for each; blocks as soon as they are whole."""
        return b"".join(map(self._say, deltas))

    def _say(self, delta: Delta) -> bytes:
        match delta.kind:
            case DeltaKind.REASONING:
                return self._say_reasoning(delta.text)
            case DeltaKind.TEXT | DeltaKind.REFUSAL:  # a model that refuses answers all the same
                return self._say_text(delta.text) if delta.text else b""
            case DeltaKind.TOOL_CALL:
                return self._end_reasoning() + self._say_blocks([*self._rest_of_text(), *self._calls.feed(delta)])
        self._finish = delta.text
        return self._end_reasoning() + self._say_blocks([*self._rest_of_text(), *self._calls.rest()])

    def _say_reasoning(self, text: str) -> bytes:
        if not text:
            return b""
        started = b"" if self._reasons else event("reasoning.started")
        self._reasons = True
        return started + event("reasoning.content", content=text)

    def _end_reasoning(self) -> bytes:
        if not self._reasons:
            return b""
        self._reasons = False
        return event("reasoning.completed")

    def _say_text(self, text: str) -> bytes:
        self._length += len(text)
        said = self._end_reasoning()
        if self._paragraphs is not None:
            return said + self._say_blocks(self._paragraphs.feed(text))
        return b'%sdata: {"event":"response.content_delta","delta":%s}\n\n' % (said, json.dumps(text).encode())

    def _rest_of_text(self) -> list[dict[str, Any]]:
        return [] if self._paragraphs is None else self._paragraphs.rest()

    def _say_blocks(self, blocks: list[dict[str, Any]]) -> bytes:
        self._blocks += blocks
        return b"".join(event("response.block", block=block) for block in blocks)

    # The end.

    def ending(self, over: Over) -> bytes:
        """Exactly one of completed, cancelled and error, then `[DONE]`. A call cut short is not said."""
        if over.refusal is not None:
            return self._end_reasoning() + self._error(over.refusal) + DONE
        if over.is_stopped:
            length = self._length if over.partial.clipped else len(_text(over))
            ids = {"thread_id": self._named.thread_id, "response_id": self._named.response_id}
            return (
                self._say_last(over)
                + event("response.cancelled", status="cancelled", **ids, partial_content_length=length)
                + DONE
            )
        return self._say_last(over) + event("response.completed", status="completed", **self._whole(over)) + DONE

    def _say_last(self, over: Over) -> bytes:
        """What is still to be said before the end, the same whenever it is asked for; it makes the blocks whole."""
        if self._last is None:
            decision = self._turn.decision
            is_gone = over.is_stopped and decision is not None and decision.is_edit
            text = [] if is_gone else self._rest_of_text()
            calls = [] if over.is_stopped else self._calls.rest()
            self._last = self._end_reasoning() + self._say_blocks([*text, *calls])
        return self._last

    def _error(self, refusal: Refusal) -> bytes:
        status, code = code_of(refusal)
        words = {"message": refusal.message, "code": code, "error_status": status}
        return event("response.error", status="failed", thread_id=self._named.thread_id, **words)

    def answer(self, over: Over) -> bytes:
        """The whole response."""
        named = self._named
        more = {"assistant_id": named.assistant_id, "reasoning_content": over.partial.reasoning() or None}
        return json.dumps({"success": True, **self._whole(over), **more, "metadata": dict(named.metadata)}).encode()

    def _whole(self, over: Over) -> dict[str, Any]:
        text = _text(over)
        calls = [call_block(*call) for call in over.partial.tool_calls()]
        found: dict[str, Any] = {
            "thread_id": self._named.thread_id,
            "response_id": self._named.response_id,
            "response": [text_block(text)] if text else [],
            "is_summarized": False,
            "stop_reason": "tool_use" if calls else STOP_REASONS.get(self._finish, "end_turn"),
            "usage": usage(over.usage),
        }
        if self._paragraphs is not None:
            found["response_blocks"] = self._blocks
        elif calls:
            found["response_blocks"] = [*found["response"], *calls]
        if calls:
            found["tools"] = calls
        return found

    def stored(self, over: Over) -> Stored:
        """The message as far as it came; what an early stop ends is gone with its question."""
        text, metadata = _text(over), dict(self._named.metadata)
        if over.refusal is not None:
            return Stored(MessageStatus.FAILED, text, metadata=metadata)
        # A client that left may still say why; a server that shuts down edits nothing.
        if over.cause in ASKED_FOR and self._turn.decide(self._ahead + over.elapsed).is_edit:
            return Stored(MessageStatus.CANCELLED, "", drops=tuple(self._turn.messages))
        self._say_last(over)
        content = self._content(over, text)
        if over.is_stopped:
            return Stored(MessageStatus.CANCELLED, text, content=content, metadata={**metadata, **CANCELLED})
        return Stored(MessageStatus.COMPLETED, text, content=content, metadata=metadata)

    def _content(self, over: Over, text: str) -> dict[str, Any] | None:
        """What plain text does not say: whole calls of tools, as the upstream wants them back, and the blocks."""
        found: dict[str, Any] = {}
        calls = [] if over.is_stopped else over.partial.tool_calls()
        if calls:
            functions = [
                {"id": ident, "type": "function", "function": {"name": name, "arguments": arguments}}
                for ident, name, arguments in calls
            ]
            found["chat"] = {"role": "assistant", "content": text or None, "tool_calls": functions}
        if self._paragraphs is not None:
            found["blocks"] = self._blocks
        return found or None


def _text(over: Over) -> str:
    return over.partial.text() or over.partial.refusal()


def event(name: str, /, **fields: Any) -> bytes:
    """One event; its name is in its data."""
    return b"data: %s\n\n" % json.dumps({"event": name, **fields}, separators=(",", ":")).encode()


def usage(counted: Usage) -> dict[str, int | None]:
    """Token counts; unknown ones are null."""
    return {
        "input_tokens": counted.prompt_tokens,
        "output_tokens": counted.completion_tokens,
        "total_tokens": counted.total_tokens,
    }
