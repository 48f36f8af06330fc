"""What is asked of the ledger's sums, and what it answers."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

from proxy.core.lifecycle import Outcome

USAGE_GROUPS: Final = ("model", "key", "user", "route", "upstream", "replica", "day", "hour", "outcome", "cause")
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


@dataclass(frozen=True, slots=True)
class SavedCost:
    """What the tokens that stops kept from being made would have cost, at the prices that are frozen into the records.

    None: no such token has a known price.
    """

    typical: Decimal | None = None
    most: Decimal | None = None

    def __add__(self, other: "SavedCost") -> "SavedCost":
        return SavedCost(_sum(self.typical, other.typical), _sum(self.most, other.most))


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
    saved_costs: dict[str, SavedCost] = field(default_factory=dict)
    """By currency, for the saved tokens whose price is known."""
    saved_unpriced: int = 0
    """How many of the generations have saved tokens, and no known price for them."""

    @property
    def total_tokens(self) -> int | None:
        """What is known of prompts and completions together."""
        known = [count for count in (self.prompt_tokens, self.completion_tokens) if count is not None]
        return sum(known) if known else None


SUMS: Final = (
    *("prompt_tokens", "completion_tokens", "cached_tokens", "reasoning_tokens"),
    *("saved_most", "saved_typical", "late_tokens"),
)
"""The sums of a row that are None where no part of them is known."""


def added_up(rows: Iterable[UsageRow]) -> UsageRow:
    """All groups as one."""
    whole = UsageRow(())
    for row in rows:
        whole.generations += row.generations
        whole.unknown += row.unknown
        whole.cost_unknown += row.cost_unknown
        whole.saved_unpriced += row.saved_unpriced
        for name in SUMS:
            setattr(whole, name, _sum(getattr(whole, name), getattr(row, name)))
        for currency, cost in row.costs.items():
            whole.costs[currency] = whole.costs.get(currency, Decimal(0)) + cost
        for currency, saved in row.saved_costs.items():
            whole.saved_costs[currency] = whole.saved_costs.get(currency, SavedCost()) + saved
    return whole


def _sum(one: Any, other: Any) -> Any:
    """The sum of what is known of two."""
    return other if one is None else one if other is None else one + other
