"""Token counts as an upstream reports them, checked before anything is billed from them."""

from dataclasses import dataclass

MAX_COUNT = 1 << 53
"""The largest count that every JSON reader still reads exactly (RFC 8259, section 6)."""


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

    def larger(self, other: "Usage") -> "Usage":
        """Each count the larger of both, so that usage sent twice or as a running total is counted once."""
        return Usage(
            _larger(self.prompt_tokens, other.prompt_tokens),
            _larger(self.completion_tokens, other.completion_tokens),
            _larger(self.cached_tokens, other.cached_tokens),
            _larger(self.reasoning_tokens, other.reasoning_tokens),
            self.invalid or other.invalid,
        )


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
    prompt, completion, cached, reasoning = map(_count, values)
    invalid = any(value is not None and _count(value) is None for value in values)
    return Usage(prompt, completion, cached, reasoning, invalid)


def _count(value: object) -> int | None:
    return value if type(value) is int and 0 <= value <= MAX_COUNT else None


def _larger(one: int | None, other: int | None) -> int | None:
    if one is None or other is None:
        return other if one is None else one
    return max(one, other)
