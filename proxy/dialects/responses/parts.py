"""The output items of a response and their parts, as far as they came. Source: OpenAI's API reference."""

import json
from dataclasses import dataclass, field
from typing import Any, Final

from proxy.core.deltas import Delta, DeltaKind
from proxy.core.kept_text import Text
from proxy.wire.responses_shapes import (
    call_item,
    message_item,
    reasoning_item,
    reasoning_part,
    refusal_part,
    text_part,
)

ITEMS: Final = {
    DeltaKind.TEXT: "message",
    DeltaKind.REFUSAL: "message",
    DeltaKind.REASONING: "reasoning",
    DeltaKind.TOOL_CALL: "function_call",
}
"""The kind of item that an addition belongs to."""
_EVENTS: Final = {
    DeltaKind.TEXT: ("response.output_text", "text"),
    DeltaKind.REFUSAL: ("response.refusal", "refusal"),
    DeltaKind.REASONING: ("response.reasoning_text", "text"),
    DeltaKind.TOOL_CALL: ("response.function_call_arguments", "arguments"),
}
"""The name that the events of a part begin with, and the field of its whole text in the last one."""
_PARTS: Final = {DeltaKind.TEXT: text_part, DeltaKind.REFUSAL: refusal_part, DeltaKind.REASONING: reasoning_part}
_KINDS: Final = {
    "output_text": (DeltaKind.TEXT, "text"),
    "refusal": (DeltaKind.REFUSAL, "refusal"),
    "reasoning_text": (DeltaKind.REASONING, "text"),
}


@dataclass(slots=True)
class Item:
    """One item; `index` is its place in the output, `status` empty while it is open."""

    id: str
    kind: str
    index: int
    parts: list["Part"] = field(default_factory=list)
    status: str = ""
    call_id: str = ""
    name: str = ""

    def shown(self) -> dict[str, Any]:
        """The item as far as it came."""
        status = self.status or "in_progress"
        if self.kind == "function_call":
            arguments = self.parts[0].text.value() if self.parts else ""
            return call_item(self.id, self.call_id, self.name, arguments, status)
        make = message_item if self.kind == "message" else reasoning_item
        return make(self.id, [part.shown() for part in self.parts], status)


class Part:
    """One part of an item, or the arguments of a call. `number` is its place among all parts of the response."""

    __slots__ = ("extra", "item", "kind", "number", "prefix", "text", "where")

    def __init__(self, number: int, kind: DeltaKind, item: Item, index: int) -> None:
        self.number = number
        self.kind = kind
        self.item = item
        self.text = Text()
        self.where: dict[str, Any] = {"item_id": item.id, "output_index": item.index}
        if kind is not DeltaKind.TOOL_CALL:
            self.where["content_index"] = index
        self.extra: dict[str, Any] = {"logprobs": []} if kind is DeltaKind.TEXT else {}
        name = f"{_EVENTS[kind][0]}.delta"
        fields = json.dumps({"type": name, **self.where, **self.extra}, separators=(",", ":"))
        self.prefix = f'event: {name}\ndata: {fields[:-1]},"sequence_number":'.encode()
        """A delta's event up to its sequence number: there are thousands of them."""

    @property
    def done(self) -> tuple[str, str]:
        """The event that has its whole text, and the field that it is in."""
        event, key = _EVENTS[self.kind]
        return f"{event}.done", key

    def shown(self) -> dict[str, Any]:
        """The part as far as it came."""
        return _PARTS[self.kind](self.text.value())

    def whole(self) -> Delta:
        """Its whole text as one delta."""
        return Delta(self.kind, self.text.value(), self.item.index, self.item.call_id, self.item.name)


def deltas_of(output: list[dict[str, Any]]) -> list[Delta]:
    """The parts of a finished output, each with its whole text as one delta."""
    found: list[Delta] = []
    for place, item in enumerate(output):
        if item["type"] == "function_call":
            found.append(Delta(DeltaKind.TOOL_CALL, item["arguments"], place, item["call_id"], item["name"]))
            continue
        for part in item["content"]:
            kind, key = _KINDS[part["type"]]
            found.append(Delta(kind, part[key]))
    return found
