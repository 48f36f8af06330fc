"""Token counts as an upstream reports them, checked before anything is billed from them."""

import json
import operator
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

MAX_COUNT = 1 << 53
"""The largest count that every JSON reader still reads exactly (RFC 8259, section 6)."""

CHARACTERS_A_TOKEN: Final = 4
"""What a token is taken for where nothing can count it."""

_AT_END: Final = re.compile(rb'"(usage(?:Metadata)?)"\s*:\s*\{')
"""Within a text of the answer the quotes would be escaped."""


class UsageAsk(IntEnum):
    """What a stream is asked for beside its text, for counting. Each has what those before it have."""

    NOTHING = 0
    FINAL = 1
    """The totals at its end: `stream_options.include_usage`."""
    RUNNING = 2
    """Running totals in every chunk: `stream_options.continuous_usage_stats` (vLLM, SGLang)."""


@dataclass(frozen=True, slots=True)
class Usage:
    """The token counts of one generation. Unknown is None, never 0."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None
    invalid: bool = False
    """Whether the upstream sent a count that is none: negative, a fraction, a string, too large."""

    @property
    def total_tokens(self) -> int | None:
        """Prompt and completion together; None as long as one of them is unknown."""
        if self.prompt_tokens is None or self.completion_tokens is None:
            return None
        return self.prompt_tokens + self.completion_tokens

    @property
    def is_known(self) -> bool:
        """Whether there is any count."""
        counts = (self.prompt_tokens, self.completion_tokens, self.cached_tokens, self.reasoning_tokens)
        return any(count is not None for count in counts)

    def larger(self, other: "Usage | None") -> "Usage":
        """Each count the larger of both, so that usage sent twice or as a running total is counted once."""
        return self if other is None else self._merged(other, max, max)

    def beside(self, other: "Usage | None") -> "Usage":
        """The counts of two choices of one answer: what was made adds up, the prompt is the same."""
        return self if other is None else self._merged(other, max, operator.add)

    def filled(self, other: "Usage | None") -> "Usage":
        """These counts, and the other's where there are none."""
        return self if other is None else self._merged(other, _first, _first)

    def _merged(
        self, other: "Usage", of_prompt: Callable[[int, int], int], of_completion: Callable[[int, int], int]
    ) -> "Usage":
        return Usage(
            _merge(self.prompt_tokens, other.prompt_tokens, of_prompt),
            _merge(self.completion_tokens, other.completion_tokens, of_completion),
            _merge(self.cached_tokens, other.cached_tokens, of_prompt),
            _merge(self.reasoning_tokens, other.reasoning_tokens, of_completion),
            self.invalid or other.invalid,
        )


def together(running: Iterable[Usage]) -> Usage | None:
    """The running totals of several choices: each has its own completion, the prompt is the same."""
    whole: Usage | None = None
    for usage in running:
        whole = usage.beside(whole)
    return whole


def read_usage(found: object) -> Usage | None:
    """Read the `usage` object of an OpenAI answer or chunk; None when there is none (missing or null).

    A count is a whole number from 0 to 2^53; anything else is left out and marks the result as invalid. Never raises.
    """
    if found is None:
        return None
    if not isinstance(found, dict):
        return Usage(invalid=True)
    prompt_details = found.get("prompt_tokens_details")
    completion_details = found.get("completion_tokens_details")
    values = (
        found.get("prompt_tokens"),
        found.get("completion_tokens"),
        prompt_details.get("cached_tokens") if isinstance(prompt_details, dict) else None,
        completion_details.get("reasoning_tokens") if isinstance(completion_details, dict) else None,
    )
    prompt, completion, cached, reasoning = map(count_in, values)
    invalid = any(value is not None and count_in(value) is None for value in values)
    return Usage(prompt, completion, cached, reasoning, invalid)


def usage_at_end(body: bytes) -> bytes:
    """An answer with nothing but the last usage object that stands in these bytes; empty without one. Never raises."""
    members = list(_AT_END.finditer(body))
    if not members:
        return b""
    try:
        usage, _ = json.JSONDecoder().raw_decode(body[members[-1].end() - 1 :].decode(errors="replace"))
    except (ValueError, RecursionError):
        return b""
    return json.dumps({members[-1][1].decode(): usage}).encode()


def count_in(value: object) -> int | None:
    """A count, if this is one: a whole number from 0 to 2^53."""
    return value if type(value) is int and 0 <= value <= MAX_COUNT else None


def _merge(one: int | None, other: int | None, of_both: Callable[[int, int], int]) -> int | None:
    if one is None or other is None:
        return other if one is None else one
    return of_both(one, other)


def _first(one: int, _other: int) -> int:
    return one
