"""The outline of a response that an upstream streams: its own fields, its items, and which text belongs to which part.

The texts themselves are in the partial; the outline has sizes, so that a stopped response can be shown as it was.
"""

from dataclasses import dataclass, field
from typing import Any, Final

from proxy.core.choices import Choice
from proxy.core.partial import Partial, safe_text
from proxy.wire.responses_calls import SHOWN
from proxy.wire.responses_shapes import item_id, message_item, reasoning_part, refusal_part, summary_part, text_part

MOST_ITEMS: Final = 512
"""Items and pieces of text that are told apart, far above what any model makes of one response."""
MOST_KEPT: Final = 64 * 1024
"""Bytes kept of what is no text: the response's own fields, the items of built-in tools."""

_PARTS: Final = {
    "output_text": text_part,
    "refusal": refusal_part,
    "reasoning_text": reasoning_part,
    "summary_text": summary_part,
}
_SOURCES: Final = {
    "output_text": "content",
    "refusal": "refusal",
    "reasoning_text": "reasoning",
    "summary_text": "reasoning",
}
"""Which of a partial's texts a kind of part goes into."""
_STREAMED: Final = ("content", "summary", "arguments", "input")
"""The fields of an item that grow by deltas."""


@dataclass(slots=True)
class Piece:
    """Text that came in one go for one part of one item; `size` in code points as they came."""

    item: int
    part: int
    kind: str
    size: int


@dataclass(slots=True)
class Outline:
    """One response. `next_number` is the sequence number of the event that would come next.

    `said` has the calls of tools that have been written, or begun to be: their items repeat it as a whole.
    """

    fields: dict[str, Any] = field(default_factory=dict)
    items: dict[int, dict[str, Any]] = field(default_factory=dict)
    pieces: list[Piece] = field(default_factory=list)
    next_number: int = 0
    said: set[int] = field(default_factory=set)
    _places: dict[str, int] = field(default_factory=dict)
    _room: int = MOST_KEPT

    def count(self, number: object) -> None:
        """One more event came, with its number where the upstream numbers them."""
        counted = type(number) is int and number >= self.next_number
        self.next_number = (number if counted and isinstance(number, int) else self.next_number) + 1

    def take_fields(self, found: dict[str, Any], size: int) -> None:
        """The response's own fields, as they were said last; `size` is that of the event that had them."""
        if size <= MOST_KEPT:
            self.fields = {name: value for name, value in found.items() if name not in ("output", "usage")}

    def take_item(self, index: int, item: dict[str, Any], size: int) -> None:
        """An item, begun or whole; what grows by deltas is left out of it."""
        if not _text(item, "type"):
            return
        if (index not in self.items and len(self.items) >= MOST_ITEMS) or size > self._room:
            if index in self.items:  # too large to be kept, but it is over
                self.items[index]["status"] = _text(item, "status")
            return
        kept = {name: value for name, value in item.items() if name not in _STREAMED}
        if item.get("type") not in ("message", "reasoning", "function_call", "custom_tool_call"):
            self._room -= size
            kept = item
        self.items[index] = kept
        if ident := _text(item, "id"):
            self._places[ident] = index

    def place(self, event: dict[str, Any]) -> int:
        """The item that an event is about; some servers name it by its id only, some not at all."""
        index = event.get("output_index")
        if type(index) is int:
            return index
        found = self._places.get(_text(event, "item_id"))
        if found is not None:
            return found
        return max(self.items, default=0)

    def grow(self, event: dict[str, Any], kind: str, size: int) -> None:
        """Text came for a part of an item."""
        item = self.place(event)
        part = event.get("summary_index" if kind == "summary_text" else "content_index")
        part = part if type(part) is int else 0
        last = self.pieces[-1] if self.pieces else None
        if last is not None and (last.item, last.part, last.kind) == (item, part, kind):
            last.size += size
        elif len(self.pieces) < MOST_ITEMS:
            self.pieces.append(Piece(item, part, kind, size))

    def output(self, partial: Partial, response_id: str) -> list[dict[str, Any]]:
        """The items as far as they came; what is not over is `incomplete`."""
        parts = self._parts(partial)
        return [
            self._item(index, parts.get(index, []), partial, response_id) for index in sorted({*self.items, *parts})
        ]

    def _item(self, index: int, parts: list[tuple[str, str]], partial: Partial, response_id: str) -> dict[str, Any]:
        item = self.items.get(index) or message_item(item_id(response_id, "msg", index), [], "in_progress")
        shown = dict(item)
        match item.get("type"):
            case "message":
                shown["content"] = [_PARTS[kind](text) for kind, text in parts]
            case "reasoning":
                shown["summary"] = [summary_part(text) for kind, text in parts if kind == "summary_text"]
                shown["content"] = [reasoning_part(text) for kind, text in parts if kind == "reasoning_text"]
            case str(kind) if kind in SHOWN:
                shown[SHOWN[kind]] = shown.get(SHOWN[kind]) or _arguments(partial, index)
        if shown.get("status") == "in_progress":
            shown["status"] = "incomplete"
        return shown

    def _parts(self, partial: Partial) -> dict[int, list[tuple[str, str]]]:
        """The kind and text of each part of each item, cut out of the partial's texts."""
        choice = partial.choices.get(0, Choice())
        texts = {
            "content": choice.content.value(),
            "refusal": choice.refusal.value() if choice.refusal else "",
            "reasoning": choice.reasoning.value() if choice.reasoning else "",
        }
        at = dict.fromkeys(texts, 0)
        found: dict[tuple[int, int, str], list[str]] = {}
        for piece in self.pieces:
            source = _SOURCES[piece.kind]
            start = at[source]
            at[source] = end = start + piece.size
            found.setdefault((piece.item, piece.part, piece.kind), []).append(texts[source][start:end])
        parts: dict[int, list[tuple[str, str]]] = {}
        for (item, _, kind), some in sorted(found.items()):
            parts.setdefault(item, []).append((kind, safe_text("".join(some))))
        return parts


def _arguments(partial: Partial, index: int) -> str:
    call = (partial.choices.get(0, Choice()).tool_calls or {}).get(index)
    return "" if call is None else safe_text(call.arguments.value())


def outline_of(partial: Partial) -> Outline:
    """The outline of the response that a partial is of."""
    if not isinstance(partial.outline, Outline):
        partial.outline = Outline()
    found: Outline = partial.outline
    return found


def _text(found: dict[str, Any], key: str) -> str:
    value = found.get(key)
    return value if isinstance(value, str) else ""
