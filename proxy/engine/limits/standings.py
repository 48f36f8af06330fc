"""How budgets stand: when their windows end, and who has used how much."""

import heapq
from dataclasses import dataclass
from typing import Final

from proxy.core.budget import Budget, Tally
from proxy.core.ids import public_name
from proxy.core.use import Account, Use

NEAR: Final = 0.8
"""From this part of a budget on an operator is shown who has used it."""

MOST_NAMED: Final = 20
"""So many are shown of each budget."""


@dataclass(frozen=True, slots=True)
class Near:
    """A caller, or one user of it, that is over a budget or near it; `key_id` is what people see of the caller."""

    key_id: str
    user: str | None
    use: Use
    part: float
    is_used_up: bool


@dataclass(frozen=True, slots=True)
class Standing:
    """How a budget stands: when its window ends, in seconds since the epoch, and how many have used it up by now.

    `nearest` has who used most of it, over the limit or near it, of all that called this replica within the window.
    """

    budget: Budget
    ends_at: float | None = None
    used_up: int | None = None
    nearest: tuple[Near, ...] = ()


def standing(budget: Budget, tally: Tally | None, wall: float, away: int | None) -> Standing:
    """How a budget stands at `wall` seconds since the epoch; `away`: see `Account.counted`."""
    if tally is None:
        return Standing(budget)
    limits, used_up = budget.limits, tally.reached(budget.limits, wall, away)
    counted = ((account, account.counted(away)) for account in tally)
    parts = ((limits.part(use), account, use) for account, use in counted)
    largest = heapq.nlargest(MOST_NAMED, (each for each in parts if each[0] >= NEAR), key=lambda each: each[0])
    nearest = tuple(_near(budget, account, use, part) for part, account, use in largest)
    return Standing(budget, tally.ends_at(wall), used_up, nearest)


def _near(budget: Budget, account: Account, use: Use, part: float) -> Near:
    identity, user = account.window.subject if account.window else ("", None)
    return Near(public_name(identity), user, use, part, budget.limits.reached(use) is not None)
