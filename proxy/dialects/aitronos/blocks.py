"""An answer as blocks: text by paragraphs, and calls of tools, each as soon as it is whole."""

import json
from dataclasses import dataclass, field
from typing import Any, Final

from proxy.core.deltas import Delta

FENCE: Final = "```"


class Paragraphs:
    """Text that comes in pieces, cut at blank lines outside of code; the same blocks however it came."""

    def __init__(self) -> None:
        self._line: list[str] = []
        self._lines: list[str] = []
        self._is_code = False
        self._is_over = False

    def feed(self, text: str) -> list[dict[str, Any]]:
        """Take a piece; give the paragraphs that are whole by now. One is when something follows its blank line."""
        found: list[dict[str, Any]] = []
        for number, part in enumerate(text.split("\n")):
            if number:
                self._end_line()
            if part:
                found += self._take() if self._is_over else []
                self._line.append(part)
        return found

    def rest(self) -> list[dict[str, Any]]:
        """The last paragraph, whole or not."""
        self._end_line()
        return self._take()

    def _end_line(self) -> None:
        line = "".join(self._line)
        self._line.clear()
        if line.count(FENCE) % 2:
            self._is_code = not self._is_code
        if line or self._is_code:
            self._lines.append(line)
        else:
            self._is_over = bool(self._lines)

    def _take(self) -> list[dict[str, Any]]:
        text = "\n".join(self._lines).rstrip("\n")
        self._lines.clear()
        self._is_over = False
        return [text_block(text)] if text else []


def text_block(text: str) -> dict[str, Any]:
    """A block of text."""
    return {"type": "text", "text": text}


@dataclass(slots=True)
class Calls:
    """Calls of tools that come in pieces: one is whole when the next one begins, or the answer ends."""

    _parts: dict[int, tuple[str, str, list[str]]] = field(default_factory=dict)
    _said: set[int] = field(default_factory=set)

    def feed(self, delta: Delta) -> list[dict[str, Any]]:
        """Take a piece of a call; give the calls before it that are whole by now."""
        begins = delta.place not in self._parts
        whole = self.rest() if begins else []
        ident, name, arguments = self._parts.get(delta.place, ("", "", []))
        name = name if delta.name == name else name + delta.name  # a name sent again as a whole is not doubled
        arguments.append(delta.text)
        self._parts[delta.place] = (ident or delta.id, name, arguments)
        return whole

    def rest(self) -> list[dict[str, Any]]:
        """The calls not given yet."""
        places = [place for place in sorted(self._parts) if place not in self._said]
        self._said.update(places)
        parts = [self._parts[place] for place in places]
        return [call_block(ident, name, "".join(pieces)) for ident, name, pieces in parts]


def call_block(ident: str, name: str, arguments: str) -> dict[str, Any]:
    """A block that calls a tool; `input` is null where the model's arguments are no JSON."""
    try:
        found = json.loads(arguments) if arguments else {}
    except (ValueError, RecursionError):
        found = None
    return {"type": "tool_use", "id": ident, "name": name, "input": found, "arguments": arguments}
