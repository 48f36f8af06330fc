"""Folding a stream of Anthropic's Messages API into the message that the same server gives without streaming."""

from typing import Any, Final

from proxy.core import sse
from proxy.wire.answer import MAX_ANSWER, AnswerTooLargeError, read_shallow, written

_NEW: Final = 64
"""What an event counts beside its text."""
_GROWING: Final = {
    "text_delta": ("text", "text"),
    "thinking_delta": ("thinking", "thinking"),
    "input_json_delta": ("partial_json", "partial_json"),
}
"""By the type of a delta: where its addition stands, and what of the block it makes longer."""


class AnthropicAnswerFold:
    """Takes the events of one stream, and builds the message. Whether it is whole is for `Partial.complete` to say."""

    def __init__(self, limit: int = MAX_ANSWER) -> None:
        self._room = limit
        self._message: dict[str, Any] = {}
        self._blocks: dict[int, dict[str, Any]] = {}
        self._pieces: dict[tuple[int, str], list[str]] = {}
        self._at_start = True

    def feed(self, block: bytes) -> None:
        """Take whole SSE events. What is no JSON object is passed over.

        Raises:
            AnswerTooLargeError: the answer grew beyond the limit.
        """
        for each in sse.events(block, at_start=self._at_start):
            self._room -= self._take(read_shallow(each.data), len(each.data) + _NEW)
            if self._room < 0:
                raise AnswerTooLargeError
        self._at_start = self._at_start and not block

    def answer(self) -> bytes:
        """The message as JSON."""
        content = [self._whole(index) for index in sorted(self._blocks)]
        return written(self._message | {"content": content})

    def _take(self, event: dict[str, Any], size: int) -> int:
        """Take one event that would count `size`; gives what it counts."""
        index = event.get("index")
        match event.get("type"), event:
            case "message_start", {"message": dict(message)}:
                self._message = message
            case "content_block_start", {"content_block": dict(block)} if type(index) is int:
                self._blocks[index] = block
            case "content_block_delta", {"delta": dict(delta)} if type(index) is int and index in self._blocks:
                return self._grow(index, delta, size)
            case "message_delta", _:
                self._end(event)
            case _:
                return 0
        return size

    def _grow(self, index: int, delta: dict[str, Any], size: int) -> int:
        block, kind = self._blocks[index], delta.get("type")
        if kind in _GROWING:
            source, target = _GROWING[kind]
            piece = delta.get(source)
            if isinstance(piece, str):
                self._pieces.setdefault((index, target), []).append(piece)
                return len(piece)
        elif kind == "signature_delta":
            block["signature"] = delta.get("signature")
        elif kind == "citations_delta":
            cited = block.get("citations")
            block["citations"] = [*(cited if isinstance(cited, list) else ()), delta.get("citation")]
        else:
            return 0
        return size

    def _end(self, event: dict[str, Any]) -> None:
        """The last facts: they stand in the message itself, and the counts beside those of its start."""
        if isinstance(delta := event.get("delta"), dict):
            self._message |= delta
        if isinstance(usage := event.get("usage"), dict):
            known = self._message.get("usage")
            said = {name: count for name, count in usage.items() if count is not None}
            self._message["usage"] = (known if isinstance(known, dict) else {}) | said

    def _whole(self, index: int) -> dict[str, Any]:
        block = dict(self._blocks[index])
        for field in ("text", "thinking"):
            if pieces := self._pieces.get((index, field)):
                begun = block.get(field)
                block[field] = (begun if isinstance(begun, str) else "") + "".join(pieces)
        if pieces := self._pieces.get((index, "partial_json")):
            block["input"] = _parsed("".join(pieces))
        return block


def _parsed(text: str) -> dict[str, Any]:
    """The input of a tool; an empty one where the model was cut short in the middle of it."""
    return read_shallow(text.encode(errors="replace"))
