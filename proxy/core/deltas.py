"""Deltas: what an upstream's events add, one by one, for dialects that say it in their own words."""

from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from proxy.core.partial import Partial, safe_text

_FIRST_HALVES = ("\ud800", "\udbff")


class DeltaKind(Enum):
    """What grew."""

    TEXT = "text"
    REASONING = "reasoning"
    REFUSAL = "refusal"
    TOOL_CALL = "tool_call"
    FINISH = "finish"


class Delta(NamedTuple):
    """One addition to the first choice of an answer.

    `text`: what is added (of a tool call its arguments), or the reason of a finish. `place`, `id` and `name` belong to
    a tool call: which one of several it is, and what it is called by whom.
    """

    kind: DeltaKind
    text: str
    place: int = 0
    id: str = ""
    name: str = ""


@dataclass(slots=True)
class DeltaPartial(Partial):
    """A partial that also remembers what was added since somebody asked last."""

    _deltas: list[Delta] = field(default_factory=list)
    _half: str = ""
    """The first half of a surrogate pair: it is said together with the second one, which the next event brings."""

    def add_content(self, choice: int, text: str) -> None:
        """See `Partial`."""
        Partial.add_content(self, choice, text)
        if not choice:
            self._say(text)

    def add_contents(self, choice: int, texts: list[str]) -> None:
        """See `Partial`; each piece is a delta of its own, so that it does not matter how many came at once."""
        Partial.add_content(self, choice, "".join(texts))
        if not choice:
            for text in texts:
                self._say(text)

    def _say(self, text: str) -> None:
        if self._half or not text.isascii():
            text, self._half = self._half + text, ""
            if text and _FIRST_HALVES[0] <= text[-1] <= _FIRST_HALVES[1]:
                text, self._half = text[:-1], text[-1]
            text = safe_text(text)
        if text:
            self._deltas.append(Delta(DeltaKind.TEXT, text))

    def add_reasoning(self, choice: int, text: str) -> None:
        """See `Partial`."""
        Partial.add_reasoning(self, choice, text)
        if not choice:
            self._deltas.append(Delta(DeltaKind.REASONING, text))

    def add_refusal(self, choice: int, text: str) -> None:
        """See `Partial`."""
        Partial.add_refusal(self, choice, text)
        if not choice:
            self._deltas.append(Delta(DeltaKind.REFUSAL, text))

    def add_tool_call(self, choice: int, index: int, *, ident: str = "", name: str = "", arguments: str = "") -> None:
        """See `Partial`."""
        Partial.add_tool_call(self, choice, index, ident=ident, name=name, arguments=arguments)
        if not choice:
            self._deltas.append(Delta(DeltaKind.TOOL_CALL, arguments, index, ident, name))

    def finish(self, choice: int, reason: str) -> None:
        """See `Partial`."""
        Partial.finish(self, choice, reason)
        if not choice:
            if self._half:  # the second half never came
                self._half = ""
                self._say("\ufffd")
            self._deltas.append(Delta(DeltaKind.FINISH, reason))

    def take_deltas(self) -> list[Delta]:
        """What was added since the last call, in order."""
        deltas, self._deltas = self._deltas, []
        return deltas
