"""How budgets stand: when their windows end, and who has used how much."""

import heapq
from dataclasses import dataclass
from typing import Final

from proxy.core.budget import Budget, Tally
from proxy.core.use import Account, Use

SHOWN: Final = 10
"""So many of those that used most are shown of each budget."""
_SHOWN_DIGITS: Final = 12


@dataclass(frozen=True, slots=True)
class Used:
    """What a caller, or one user of it, has used; `key_id` is what people see of the caller."""

    key_id: str
    user: str | None
    use: Use
    is_used_up: bool


@dataclass(frozen=True, slots=True)
class Standing:
    """How a budget stands: when its window ends, in seconds since the epoch, and how many have used it up by now.

    `most_used` are those with the largest part of it, among whoever called this replica within the window.
    """

    budget: Budget
    ends_at: float | None = None
    used_up: int | None = None
    most_used: tuple[Used, ...] = ()


def standing(budget: Budget, tally: Tally | None, wall: float, away: int | None) -> Standing:
    """How a budget stands at `wall` seconds since the epoch; `away`: see `Account.counted`."""
    if tally is None:
        return Standing(budget)
    used_up = tally.reached(budget.limits, wall, away)
    counted = [(account, account.counted(away)) for account in tally]
    largest = heapq.nlargest(SHOWN, counted, key=lambda each: budget.limits.part(each[1]))
    most = tuple(_used(budget, account, use) for account, use in largest if budget.limits.part(use) > 0)
    return Standing(budget, tally.ends_at(wall), used_up, most)


def _used(budget: Budget, account: Account, use: Use) -> Used:
    identity, user = account.window.subject if account.window else ("", None)
    named = identity.removeprefix("key:")
    key_id = named if named != identity else identity[:_SHOWN_DIGITS]
    return Used(key_id, user, use, budget.limits.reached(use) is not None)
