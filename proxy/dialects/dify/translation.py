"""What a completion or chat app says of one generation: a message in pieces and its end, or the blocking answer.

Source: Dify's API documentation. A stopped message ends like a complete one, but for our `stop_reason`.
"""

import json
from collections.abc import Sequence
from typing import Any, Final

from proxy.core.deltas import Delta, DeltaKind
from proxy.core.generation import Facts
from proxy.dialects.dify import frames
from proxy.dialects.dify.turn import Turn
from proxy.engine.translating.translation import KeepAlive, Over, Stored

_HOLE: Final = "\0"


class MessageTranslation:
    """A message of a completion or chat app."""

    keep_alive: KeepAlive = frames.PING

    def __init__(self, mode: str, turn: Turn, conversation_id: str | None = None) -> None:
        """`mode` is the app's, `turn` what is answered; a chat's events carry its conversation's id."""
        self._mode = mode
        self._turn = turn
        self._conversation = {} if conversation_id is None else {"conversation_id": conversation_id}
        self._head: dict[str, Any] = {}
        self._piece = b"", b""

    def begin(self, facts: Facts) -> bytes:
        """Nothing comes before the first token: Dify has no event for it."""
        self._head = {
            **self._conversation,
            "message_id": facts.message_id,
            "created_at": int(facts.started_wall),
            "task_id": facts.task_id,
            "id": facts.message_id,
        }
        self._piece = frames.growing({"event": "message", **self._head, "answer": _HOLE}, _HOLE)
        return b""

    def answered(self, now: float) -> bytes:  # noqa: ARG002 nothing is said then
        """Nothing."""
        return b""

    def deltas(self, deltas: Sequence[Delta], now: float) -> bytes:  # noqa: ARG002 times are the message's own
        """A `message` for each piece of text."""
        before, behind = self._piece
        return b"".join(
            before + json.dumps(delta.text).encode() + behind
            for delta in deltas
            if delta.kind is DeltaKind.TEXT and delta.text
        )

    def ending(self, over: Over) -> bytes:
        """`message_end` with the usage, also of a stopped message; `error` where something went wrong."""
        if over.refusal is not None:
            return frames.event(frames.error(over.refusal, self._head))
        end = {"event": "message_end", **self._head, "metadata": frames.metadata(over), "files": None}
        return frames.event(end)

    def answer(self, over: Over) -> bytes:
        """The whole message."""
        found = {"event": "message", **self._head, "mode": self._mode, "answer": over.partial.text()}
        return json.dumps({**found, "metadata": frames.metadata(over)}).encode()

    def stored(self, over: Over) -> Stored:
        """The message as far as it came."""
        return frames.stored(over, self._turn)
