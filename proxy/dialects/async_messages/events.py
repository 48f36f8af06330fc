"""The events of a message as bytes. Sources: PrivateGPT's API reference, Anthropic's Messages API (streaming).

Each event names its type twice, as an SSE `event:` line and in its data. A block has both `index` (Anthropic's) and
`block_id` (PrivateGPT's), and the times of its start and stop.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from proxy.core.receipt import iso
from proxy.core.sse import encode_event
from proxy.engine.translating.translation import KeepAlive

PREFIX: Final = "msg_"
"""What an answer's own id begins with; it is another one than the id of the stream."""


def event(found: Mapping[str, Any]) -> bytes:
    """One event."""
    return encode_event(json.dumps(found, separators=(",", ":")).encode(), found["type"])


PING: Final = KeepAlive(15.0, event({"type": "ping"}))
MESSAGE_STOP: Final = event({"type": "message_stop"})

_DELTAS: Final = {
    "text": ("text_delta", "text"),
    "thinking": ("thinking_delta", "thinking"),
    "tool_use": ("input_json_delta", "partial_json"),
}
"""By the type of a block: the type of its deltas, and where in them the addition stands."""


class Events:
    """The events of one answer."""

    def __init__(self, answer_id: str, model: str) -> None:
        """`answer_id` is Anthropic's id of the message, `model` the one that was asked for."""
        self.answer_id = answer_id
        self.model = model

    def _block(self, index: int) -> dict[str, Any]:
        return {"index": index, "block_id": f"block_{self.answer_id.removeprefix(PREFIX)}_{index}"}

    def start(self) -> bytes:
        """`message_start`: nothing is counted yet, as in Anthropic's own."""
        message: dict[str, Any] = {
            "id": self.answer_id,
            "type": "message",
            "role": "assistant",
            "content": [],
            "model": self.model,
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {"input_tokens": 0, "output_tokens": 0},
        }
        return event({"type": "message_start", "message": message})

    def block_start(self, index: int, kind: str, at: float, *, ident: str = "", name: str = "") -> bytes:
        """`content_block_start`: an empty block, of a tool call with its id and name."""
        block: dict[str, Any] = {"type": kind, "start_timestamp": iso(at)}
        match kind:
            case "text":
                block["text"] = ""
            case "thinking":
                block |= {"thinking": "", "signature": ""}
            case _:
                block |= {"id": ident, "name": name, "input": {}}
        return event({"type": "content_block_start", **self._block(index), "content_block": block})

    def delta_frame(self, index: int, kind: str) -> tuple[bytes, bytes]:
        """What stands before and behind the addition, a JSON string, in each `content_block_delta` of a block."""
        name, field = _DELTAS[kind]
        mark = "\x00"
        found = {"type": "content_block_delta", **self._block(index), "delta": {"type": name, field: mark}}
        before, _, behind = event(found).partition(json.dumps(mark).encode())
        return before, behind

    def block_stop(self, index: int, at: float) -> bytes:
        """`content_block_stop`."""
        return event({"type": "content_block_stop", **self._block(index), "stop_timestamp": iso(at)})

    def contents(self, found: Sequence[Mapping[str, Any]]) -> bytes:
        """Blocks that are known as a whole, each with one delta; one that was still open is not closed."""
        said = []
        for index, block in enumerate(found):
            kind = block["type"]
            ident, name = block.get("id", ""), block.get("name", "")
            said.append(self.block_start(index, kind, block["start"], ident=ident, name=name))
            if block["said"]:
                before, behind = self.delta_frame(index, kind)
                said += (before, json.dumps(block["said"]).encode(), behind)
            if block["stop"] is not None:
                said.append(self.block_stop(index, block["stop"]))
        return b"".join(said)


def ending(stop_reason: str, usage: Mapping[str, Any]) -> bytes:
    """`message_delta` with the usage of the whole answer, then `message_stop`."""
    delta = {"stop_reason": stop_reason, "stop_sequence": None}
    return event({"type": "message_delta", "delta": delta, "usage": usage}) + MESSAGE_STOP


def failure(error: Mapping[str, Any], message_id: str) -> bytes:
    """`error`: nothing follows. `message_id` is the id of the stream."""
    exception = {"type": error["detail"]["code"], "message": error["message"]}
    return event({"type": "error", "error": error, "request_id": message_id, "exception": exception})
