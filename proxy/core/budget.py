"""Budgets: what may be used, by whom and within which time, and what was. Pure: the caller passes the time in.

A budget per user or key counts in fixed windows: stretches of its length, one after the other since 1970-01-01 UTC
(`1d` are the days of UTC). A generation belongs to the window that it began in, to its end. Times are seconds.
"""

import heapq
import math
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, Literal, TypeAlias

from proxy.core.use import Account, Per, Subject, Use, Window

Limit: TypeAlias = Literal["seconds", "completion_tokens", "cost"]

ASKED_BY: Final[dict[Limit, str]] = {
    "seconds": "X-Max-Seconds",
    "completion_tokens": "X-Max-Tokens",
    "cost": "X-Max-Cost",
}
"""The header with which a caller limits one call."""

MOST_ACCOUNTS: Final = 50_000
"""Accounts of one tally, some 15 MB: callers name their users as they like."""

_FORGOTTEN: Final = 10
"""Of so many accounts one goes when there are too many."""

_UNITS: Final = ((86_400, "d"), (3600, "h"), (60, "m"), (1, "s"))


@dataclass(frozen=True, slots=True)
class Limits:
    """How much may be used; None: any amount."""

    seconds: Decimal | None = None
    completion_tokens: int | None = None
    cost: Decimal | None = None

    def reached(self, use: Use) -> Limit | None:
        """The limit that is used up, if any is."""
        if self.cost is not None and use.cost >= self.cost:
            return "cost"
        if self.completion_tokens is not None and use.completion_tokens >= self.completion_tokens:
            return "completion_tokens"
        if self.seconds is not None and use.seconds >= self.seconds:
            return "seconds"
        return None

    def value(self, limit: Limit) -> Decimal | int | None:
        """How much of that may be used."""
        match limit:
            case "seconds":
                return self.seconds
            case "completion_tokens":
                return self.completion_tokens
            case "cost":
                return self.cost

    def part(self, use: Use) -> float:
        """The largest part that was used of any of them; 0 where nothing is limited."""
        found: list[tuple[Decimal | int | None, Decimal | float]] = [
            (self.seconds, use.seconds),
            (self.completion_tokens, use.completion_tokens),
            (self.cost, use.cost),
        ]
        return max((float(used) / float(limit) for limit, used in found if limit is not None), default=0.0)

    @property
    def any(self) -> bool:
        """Whether anything is limited."""
        return self.seconds is not None or self.counts

    @property
    def counts(self) -> bool:
        """Whether a generation's tokens have to be counted while it runs."""
        return self.completion_tokens is not None or self.cost is not None


NO_LIMITS: Final = Limits()


@dataclass(frozen=True, slots=True)
class Budget:
    """Limits on the use of one request (`window` None), user or key. `asked`: the caller's own headers say so."""

    per: Per
    limits: Limits
    window: float | None = None
    asked: bool = False

    @property
    def limited(self) -> list[Limit]:
        """What it limits."""
        return [limit for limit in ASKED_BY if self.limits.value(limit) is not None]

    def says(self, limit: Limit) -> str:
        """One of its limits, for people."""
        amount = f"{self.limits.value(limit):f}" if limit != "completion_tokens" else self.limits.value(limit)
        if self.asked:
            return f"{ASKED_BY[limit]}: {amount}"
        within = "" if self.window is None else f" within {duration_text(self.window)}"
        return f"{limit} {amount} per {self.per}{within}"


class Tally:
    """The accounts of all users or keys, in windows of one length."""

    def __init__(self, per: Per, window: float, most: int = MOST_ACCOUNTS) -> None:
        self.per: Final = per
        self.window: Final = window
        self.most: Final = most
        self._number = 0
        self._accounts: dict[Subject, Account] = {}
        self.forgotten = 0
        """How many accounts were given up in all because there were too many."""

    def __len__(self) -> int:
        return len(self._accounts)

    def subject(self, identity: str, user: str | None) -> Subject:
        """Whose use a call is. All calls of a caller that name no user count as one user's."""
        return identity, user if self.per == "user" else None

    def begins_at(self, wall: float) -> float:
        """When the window of a moment begins."""
        return math.floor(wall / self.window) * self.window

    def ends_at(self, wall: float) -> float:
        """When the window of a moment ends."""
        return self.begins_at(wall) + self.window

    def __iter__(self) -> Iterator[Account]:
        return iter(list(self._accounts.values()))

    def use_of(self, subject: Subject, wall: float, shares: int | None = None) -> Use:
        """What counts of a subject's use within the window of now, see `Account.counted`; not to be changed."""
        self._turn(wall)
        found = self._accounts.get(subject)
        return Use() if found is None else found.counted(shares)

    def account(self, subject: Subject, wall: float) -> Account:
        """The account of a subject in the window of now. Who holds it may go on with it when that is over."""
        self._turn(wall)
        found = self._accounts.get(subject)
        if found is None:
            if len(self._accounts) >= self.most:
                self._make_room()
            window = Window(subject, self.per, self.window, self._number)
            found = self._accounts[subject] = Account(window=window)
        return found

    def reached(self, limits: Limits, wall: float, shares: int | None = None) -> int:
        """How many subjects have used up their limits within the window of now, see `Account.counted`."""
        self._turn(wall)
        return sum(limits.reached(account.counted(shares)) is not None for account in self._accounts.values())

    def _turn(self, wall: float) -> None:
        """Begin a new window when its time has come; a clock that was set back a little does not go back to the old."""
        number = math.floor(wall / self.window)
        if number != self._number and number != self._number - 1:
            self._number = number
            self._accounts = {}

    def _make_room(self) -> None:
        """Give up accounts: of those without anything that runs the ones with the least use, who gain least by it."""
        idle = ((subject, account.use) for subject, account in self._accounts.items() if not account.live)
        least = heapq.nsmallest(max(self.most // _FORGOTTEN, 1), idle, key=_amount)
        for subject, _ in least:
            del self._accounts[subject]
        self.forgotten += len(least)


def _amount(item: tuple[Subject, Use]) -> tuple[Decimal, int, float]:
    use = item[1]
    return use.cost, use.completion_tokens, use.seconds


def duration_text(seconds: float) -> str:
    """A duration as the settings have it, such as `1d` or `90s`."""
    for size, unit in _UNITS:
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:.0f}{unit}"
    return f"{seconds:g}s"
