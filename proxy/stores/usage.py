"""What is asked of the ledger's sums, and what it answers."""

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

from proxy.core.lifecycle import Outcome

USAGE_GROUPS: Final = ("model", "key", "user", "route", "day", "outcome")
"""What can be summed over, besides the values of one tag."""

TAG_GROUP: Final = "tag:"
"""`tag:team` sums over the values of the tag `team`."""

MOST_GROUPS: Final = 100_000
"""Groups of one answer."""


class TooManyGroupsError(Exception):
    """The answer would have more than `MOST_GROUPS` groups."""


@dataclass(frozen=True, slots=True)
class Span:
    """Records that started from `since` on and before `until`, in seconds since the epoch; None: no bound."""

    since: float | None = None
    until: float | None = None


@dataclass(frozen=True, slots=True)
class UsageQuery:
    """Which records are summed up, and into which groups; a filter that is None takes any."""

    by: tuple[str, ...]
    """Of `USAGE_GROUPS`, or `tag:NAME`."""
    span: Span = Span()
    key_id: str | None = None
    user: str | None = None
    model: str | None = None
    route: str | None = None
    outcome: Outcome | None = None
    tag: tuple[str, str] | None = None


@dataclass(slots=True)
class UsageRow:
    """Sums over the records of one group. A sum of which no part is known is None."""

    group: tuple[str | None, ...]
    """A value for each of the query's `by`; None: the record has none."""
    generations: int = 0
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None
    unknown: int = 0
    """How many of the generations lack the count of their prompt or completion: what that had is in no sum."""
    costs: dict[str, Decimal] = field(default_factory=dict)
    """Exact, by currency; they are never added up over currencies."""
    cost_unknown: int = 0
    """How many of the generations have no cost."""
    saved_most: int | None = None
    saved_typical: int | None = None
    late_tokens: int | None = None

    @property
    def total_tokens(self) -> int | None:
        """What is known of prompts and completions together."""
        known = [count for count in (self.prompt_tokens, self.completion_tokens) if count is not None]
        return sum(known) if known else None
