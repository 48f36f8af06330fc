"""A response as it grows: deltas become the API's events, and the output items that the response shows.

Source: OpenAI's API reference (streaming events). Items come one after another; calls of functions stay open beside
each other until the end, for an upstream may interleave them. How the text was cut is kept, so that the same events can
be said again.
"""

import json
from array import array
from collections.abc import Sequence
from typing import Any, Final

from proxy.core.deltas import Delta, DeltaKind
from proxy.core.partial import safe_text
from proxy.core.sse import encode_event
from proxy.dialects.responses.fields import MOST_NAME
from proxy.dialects.responses.names import CALL, MESSAGE, REASONING
from proxy.dialects.responses.parts import ITEMS, Item, Part
from proxy.wire.responses_shapes import item_id, response_object

MOST_PARTS: Final = 512
"""Parts of one response, far above what any model makes; what would be in later ones is left out."""
MOST_TEXT: Final = 8 << 20
"""Characters kept of one response; what comes behind them is streamed, and missing in what is shown of it later."""

Log = list[list[int]]
"""How the text was cut: for each run of deltas the number of its part, then their sizes."""


class Draft:
    """One response. `status` is one of the API's; `number` the sequence number of the next event."""

    def __init__(self, response_id: str, model: str, created_at: int, shown: dict[str, Any]) -> None:
        """`shown` are the request's fields as every response object repeats them."""
        self.id = response_id
        self.number = 0
        self.status = "queued" if shown["background"] else "in_progress"
        self.end: dict[str, Any] = {}
        """Fields that a response has at its end only."""
        self._known = {"ident": response_id, "model": model, "created_at": created_at}
        self._shown = shown
        self._items: list[Item] = []
        self._parts: list[Part] = []
        self._calls: dict[int, Part] = {}
        self._current: Part | None = None
        self._cuts: list[array[int]] = []
        self._room = MOST_TEXT

    def object(self) -> dict[str, Any]:
        """The response as it is now."""
        output = [item.shown() for item in self._items]
        known: dict[str, Any] = self._known
        return response_object(self._shown, status=self.status, output=output, **known) | self.end

    @property
    def log(self) -> Log:
        """How the text was cut."""
        return [list(run) for run in self._cuts]

    # The stages of a stream.

    def begin(self) -> bytes:
        """The first events."""
        said = self._state("created")
        return said + self._state("queued") if self._shown["background"] else said

    def answered(self) -> bytes:
        """The model is at work."""
        self.status = "in_progress"
        return self._state("in_progress")

    def add(self, delta: Delta) -> bytes:
        """The events of one addition."""
        if delta.kind is DeltaKind.FINISH or (not delta.text and delta.kind is not DeltaKind.TOOL_CALL):
            return b""
        part, said = self._part(delta)
        if part is None:
            return said
        self._cut(part, len(delta.text), opens=bool(said))
        if not delta.text:
            return said
        self._room -= len(delta.text)
        if self._room >= 0:
            part.text.add(delta.text)
        number, self.number = self.number, self.number + 1
        return said + b'%s%d,"delta":%s}\n\n' % (part.prefix, number, json.dumps(delta.text).encode())

    def finish(self, status: str, usage: dict[str, Any] | None, **end: Any) -> bytes:
        """The events that end a stream. A response that was cut off says nothing of the items that are still open.

        `usage` is as the API has it, `end` more of the response's fields that only its end knows.
        """
        said = b""
        if status in ("completed", "incomplete"):
            said = b"".join(self._close(item, status) for item in self._items if not item.status)
        for item in self._items:
            item.status = item.status or "incomplete"
        self.status, self.end = status, {"usage": usage, **end}
        return said + self._event(f"response.{status}", response=self.object())

    # Items and parts.

    def _part(self, delta: Delta) -> tuple[Part | None, bytes]:
        """The part that a delta belongs to, and what is said because it begins."""
        if delta.kind is DeltaKind.TOOL_CALL and delta.place in self._calls:
            part = self._calls[delta.place]
            part.item.name = part.item.name or delta.name  # some upstreams name a call behind its beginning
            return part, b""
        current = self._current
        if current is not None and current.kind is delta.kind and delta.kind is not DeltaKind.TOOL_CALL:
            return current, b""
        if len(self._parts) >= MOST_PARTS:
            return None, b""
        return self._open(delta)

    def _open(self, delta: Delta) -> tuple[Part, bytes]:
        kind, current = ITEMS[delta.kind], self._current
        item = None if current is None else current.item
        said = b""
        if item is None or item.kind != kind or item.status or kind == "function_call":
            said += self._close_current()
            ident = self._item_id(kind)
            call_id = delta.id if self._is_fit(delta.id) else ident
            item = Item(ident, kind, len(self._items), call_id=call_id, name=delta.name)
            self._items.append(item)
            said += self._event("response.output_item.added", output_index=item.index, item=item.shown())
        elif current is not None:
            said += self._close_part(current)
        part = Part(len(self._parts), delta.kind, item, len(item.parts))
        item.parts.append(part)
        self._parts.append(part)
        if kind == "function_call":
            self._calls[delta.place] = part
            self._current = None
        else:
            self._current = part
            said += self._event("response.content_part.added", **part.where, part=part.shown())
        return part, said

    def _is_fit(self, call_id: str) -> bool:
        """Whether a client can name a call by the id that its upstream gave it."""
        is_text = 0 < len(call_id) <= MOST_NAME and call_id == safe_text(call_id)
        return is_text and all(call_id != item.call_id for item in self._items)

    def _item_id(self, kind: str) -> str:
        prefix = {"message": MESSAGE, "reasoning": REASONING}.get(kind, CALL)
        return item_id(self.id, prefix.rstrip("_"), len(self._items))

    def _close_current(self) -> bytes:
        return b"" if self._current is None else self._close(self._current.item, "completed")

    def _close(self, item: Item, status: str) -> bytes:
        """An item is over, and with it its last part."""
        said = self._close_part(item.parts[-1])
        item.status = status
        if self._current is not None and self._current.item is item:
            self._current = None
        return said + self._event("response.output_item.done", output_index=item.index, item=item.shown())

    def _close_part(self, part: Part) -> bytes:
        event, key = part.done
        whole = {key: part.text.value()}
        if part.kind is DeltaKind.TOOL_CALL:
            return self._event(event, **part.where, name=part.item.name, **whole)
        said = self._event(event, **part.where, **whole, **part.extra)
        return said + self._event("response.content_part.done", **part.where, part=part.shown())

    # Events.

    def _state(self, name: str) -> bytes:
        return self._event(f"response.{name}", response=self.object())

    def _event(self, kind: str, **fields: Any) -> bytes:
        found = {"type": kind, "sequence_number": self.number, **fields}
        self.number += 1
        return encode_event(json.dumps(found, separators=(",", ":")).encode(), kind)

    def _cut(self, part: Part, size: int, *, opens: bool) -> None:
        if not size and not opens:
            return
        if not self._cuts or self._cuts[-1][0] != part.number:
            self._cuts.append(array("L", [part.number]))
        self._cuts[-1].append(size)

    # Saying it again.

    def said_again(self, log: Log, pieces: Sequence[Delta]) -> bytes:
        """The events of deltas that were cut like that; `pieces` has for each part one delta with its whole text."""
        at = [0] * len(pieces)
        said: list[bytes] = []
        for number, *sizes in log:
            piece = pieces[number]
            for size in sizes:
                start = at[number]
                at[number] = end = start + size
                said.append(self.add(piece._replace(text=piece.text[start:end])))
        return b"".join(said)

    def pieces(self) -> list[Delta]:
        """For each part one delta with its whole text."""
        return [part.whole() for part in self._parts]
