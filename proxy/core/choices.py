"""The choices of an answer: what a model says, one of several times, as far as it came."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

from proxy.core.kept_text import Text

Place: TypeAlias = tuple[int, str, int]
"""Where in an answer a text stands: its choice, what it is there, and which tool call it belongs to."""


@dataclass(slots=True)
class ToolCall:
    """One tool call as far as it came."""

    id: str = ""
    name: Text = field(default_factory=Text)
    arguments: Text = field(default_factory=Text)


@dataclass(slots=True)
class Choice:
    """One of the answers of a generation; most have only content."""

    content: Text = field(default_factory=Text)
    reasoning: Text | None = None
    refusal: Text | None = None
    tool_calls: dict[int, ToolCall] | None = None

    def texts(self, number: int) -> Iterator[tuple[Place, Text]]:
        """Its texts, each with its place, in the choice of this number."""
        yield (number, "content", 0), self.content
        if self.reasoning:
            yield (number, "reasoning", 0), self.reasoning
        if self.refusal:
            yield (number, "refusal", 0), self.refusal
        for index, call in (self.tool_calls or {}).items():
            yield (number, "name", index), call.name
            yield (number, "arguments", index), call.arguments
