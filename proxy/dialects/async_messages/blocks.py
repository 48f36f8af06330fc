"""The content blocks of an answer: deltas open, extend and close them. Source: Anthropic's Messages API (streaming).

Blocks come one after another, as Anthropic's do. Only calls of tools whose arguments an upstream interleaves stay open
beside each other until the end.
"""

import json
from dataclasses import dataclass
from typing import Any, Final

from proxy.core.choices import Choice
from proxy.core.deltas import Delta, DeltaKind
from proxy.core.kept_text import Text
from proxy.core.partial import Partial, safe_text
from proxy.dialects.async_messages.events import PREFIX, Events

KINDS: Final = {
    DeltaKind.TEXT: "text",
    DeltaKind.REFUSAL: "text",
    DeltaKind.REASONING: "thinking",
    DeltaKind.TOOL_CALL: "tool_use",
}
MOST: Final = 4096
"""Blocks of one answer: far above what any model makes. What would be in later ones is left out."""
MOST_ARGUMENTS: Final = 1 << 20
"""Characters of a call's arguments that are looked at to see whether they are whole."""


@dataclass(slots=True)
class Block:
    """One block. `size`: characters of it that were said; its text itself is in the generation's partial."""

    index: int
    kind: DeltaKind
    started: float
    frame: tuple[bytes, bytes]
    place: int = 0
    id: str = ""
    name: str = ""
    size: int = 0
    stopped: float | None = None
    arguments: Text | None = None
    """Of a call that is open."""

    @property
    def is_whole(self) -> bool:
        """Whether nothing can come any more: of a call, whether its arguments are one JSON value."""
        if self.arguments is None:
            return True
        try:
            json.loads(self.arguments.value())
        except (ValueError, RecursionError):
            return False
        return True


class Blocks:
    """The blocks of one answer, in order."""

    def __init__(self, events: Events) -> None:
        """`events` of the same answer."""
        self._events = events
        self._blocks: list[Block] = []
        self._calls: dict[int, Block] = {}
        self._current: Block | None = None
        self.refuses = False
        """Whether the model refused to answer."""

    def __bool__(self) -> bool:
        return bool(self._blocks)

    def add(self, delta: Delta, now: float) -> bytes:
        """The events of one addition."""
        if delta.kind is DeltaKind.FINISH:
            return b""
        if delta.kind is DeltaKind.TOOL_CALL:
            return self._call(delta, now)
        self.refuses = self.refuses or delta.kind is DeltaKind.REFUSAL
        if not delta.text:
            return b""
        block, said = self._current, b""
        if block is None or block.kind is not delta.kind:
            block, said = self._open(delta, now)
        return said if block is None else said + self._extend(block, delta.text)

    def close(self, now: float) -> bytes:
        """Close what is open: the answer is over."""
        return b"".join(self._stop(block, now) for block in self._blocks if block.stopped is None)

    def contents(self, partial: Partial) -> list[dict[str, Any]]:
        """The blocks as they can be stored and said again, with as much of their text as was kept."""
        choice = partial.choices.get(0, Choice())
        texts = {
            DeltaKind.TEXT: choice.content.value(),
            DeltaKind.REFUSAL: choice.refusal.value() if choice.refusal else "",
            DeltaKind.REASONING: choice.reasoning.value() if choice.reasoning else "",
        }
        at = dict.fromkeys(texts, 0)
        found = []
        for block in self._blocks:
            shown: dict[str, Any] = {"type": KINDS[block.kind], "start": block.started, "stop": block.stopped}
            if block.kind is DeltaKind.TOOL_CALL:
                call = (choice.tool_calls or {}).get(block.place)
                said = "" if call is None else call.arguments.value()
                shown |= {"id": block.id, "name": block.name, "said": safe_text(said[: block.size])}
            else:
                start = at[block.kind]
                at[block.kind] = end = start + block.size
                shown["said"] = safe_text(texts[block.kind][start:end])
            found.append(shown)
        return found

    def _call(self, delta: Delta, now: float) -> bytes:
        block, said = self._calls.get(delta.place), b""
        if block is None:
            block, said = self._open(delta, now)
            if block is not None:
                block.arguments = Text()
                self._calls[delta.place] = block
        if block is None or block.arguments is None or not delta.text:
            return said
        if block.size < MOST_ARGUMENTS:
            block.arguments.add(delta.text)
        return said + self._extend(block, delta.text)

    def _open(self, delta: Delta, now: float) -> tuple[Block | None, bytes]:
        """A new block of the delta's kind; the one before it is closed first, if nothing can come for it."""
        said = b"" if self._current is None or not self._current.is_whole else self._stop(self._current, now)
        index, kind = len(self._blocks), KINDS[delta.kind]
        if index >= MOST:
            self._current = None
            return None, said
        ident, name = safe_text(delta.id), safe_text(delta.name)
        if delta.kind is DeltaKind.TOOL_CALL and not ident:
            ident = f"toolu_{self._events.answer_id.removeprefix(PREFIX)}_{index}"
        frame = self._events.delta_frame(index, kind)
        block = self._current = Block(index, delta.kind, now, frame, delta.place, ident, name)
        self._blocks.append(block)
        return block, said + self._events.block_start(index, kind, now, ident=ident, name=name)

    @staticmethod
    def _extend(block: Block, text: str) -> bytes:
        block.size += len(text)
        before, behind = block.frame
        return before + json.dumps(text).encode() + behind

    def _stop(self, block: Block, now: float) -> bytes:
        block.stopped, block.arguments = now, None
        if block is self._current:
            self._current = None
        return self._events.block_stop(block.index, now)
