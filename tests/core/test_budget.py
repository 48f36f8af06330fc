"""Budgets as plain values: limits, windows, accounts, and how they are told."""

from decimal import Decimal
from typing import Any

import pytest

from proxy.core.budget import Budget, Limit, Limits, Tally, duration_text
from proxy.core.use import Account, Per, Use

DAY = 86_400.0
NOW = 20_000 * DAY + 5 * 3600
"""05:00 UTC of some day."""


@pytest.mark.parametrize(
    ("limits", "use", "reached"),
    [
        ({}, {"seconds": 1e9, "completion_tokens": 10**9, "cost": Decimal(10**9)}, None),
        ({"completion_tokens": 10}, {"completion_tokens": 9}, None),
        ({"completion_tokens": 10}, {"completion_tokens": 10}, "completion_tokens"),
        ({"completion_tokens": 10}, {"completion_tokens": 11}, "completion_tokens"),
        ({"seconds": Decimal("2.5")}, {"seconds": 2.4999}, None),
        ({"seconds": Decimal("2.5")}, {"seconds": 2.5}, "seconds"),
        ({"cost": Decimal("0.1")}, {"cost": Decimal("0.0999999999")}, None),
        ({"cost": Decimal("0.1")}, {"cost": Decimal("0.1000")}, "cost"),
        ({"seconds": Decimal(1), "cost": Decimal(1)}, {"seconds": 1.0, "cost": Decimal(1)}, "cost"),
    ],
)
def test_a_limit_is_reached_by_what_it_says(limits: dict[str, Any], use: dict[str, Any], reached: str | None) -> None:
    """A limit is used up as soon as the use is as much, not only when it is more."""
    assert Limits(**limits).reached(Use(**use)) == reached


@pytest.mark.parametrize(
    ("budget", "limit", "text"),
    [
        (Budget("request", Limits(completion_tokens=500)), "completion_tokens", "completion_tokens 500 per request"),
        (Budget("key", Limits(cost=Decimal("2.50")), DAY), "cost", "cost 2.50 per key within 1d"),
        (Budget("user", Limits(seconds=Decimal("1E+2")), 90.0), "seconds", "seconds 100 per user within 90s"),
        (Budget("request", Limits(seconds=Decimal(3)), asked=True), "seconds", "X-Max-Seconds: 3"),
    ],
)
def test_a_budget_is_told_in_the_words_of_the_settings(budget: Budget, limit: Limit, text: str) -> None:
    """Whoever is stopped by a limit can find it: in the config file, or among the call's own headers."""
    assert budget.says(limit) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(604_800, "7d"), (DAY, "1d"), (90_000, "25h"), (5400, "90m"), (61, "61s"), (0.25, "0.25s")]
)
def test_a_duration_is_told_in_its_largest_whole_unit(seconds: float, text: str) -> None:
    """Durations look as people write them."""
    assert duration_text(seconds) == text


@pytest.mark.parametrize(
    ("wall", "begins"),
    [
        (NOW, 20_000 * DAY),
        (20_000 * DAY, 20_000 * DAY),
        (20_001 * DAY - 0.001, 20_000 * DAY),
        (20_001 * DAY, 20_001 * DAY),
    ],
)
def test_windows_follow_each_other_without_a_gap(wall: float, begins: float) -> None:
    """A day's window is that day in UTC, its first moment included and its last one not."""
    tally = Tally("key", DAY)
    assert (tally.begins_at(wall), tally.ends_at(wall)) == (begins, begins + DAY)


def spent(tally: Tally, identity: str, user: str | None, tokens: int, wall: float = NOW) -> Account:
    """Let a caller use tokens."""
    account = tally.account(tally.subject(identity, user), wall)
    account.move(Use(), Use(completion_tokens=tokens))
    return account


def left(tally: Tally, identity: str, user: str | None = None, wall: float = NOW) -> int:
    """How many tokens a caller has used."""
    return tally.use_of(tally.subject(identity, user), wall).completion_tokens


@pytest.mark.parametrize(
    ("per", "used"),
    [
        ("key", {("a", None): 15, ("a", "ann"): 15, ("a", "bob"): 15, ("b", None): 16, ("b", "ann"): 16}),
        (
            "user",
            {("a", None): 1, ("a", "ann"): 2, ("a", "bob"): 12, ("b", None): 0, ("b", "ann"): 16, ("c", "ann"): 0},
        ),
    ],
)
def test_whose_use_it_is(per: Per, used: dict[tuple[str, str | None], int]) -> None:
    """One caller's users are never another's, and its calls without a user are one user's."""
    tally = Tally(per, DAY)
    for identity, user, tokens in (("a", None, 1), ("a", "ann", 2), ("a", "bob", 12), ("b", "ann", 16)):
        spent(tally, identity, user, tokens)
    assert {subject: left(tally, *subject) for subject in used} == used


@pytest.mark.parametrize(
    ("later", "used"),
    [
        (NOW + 18 * 3600, 5),
        (20_001 * DAY, 0),
        (20_003 * DAY, 0),
        (20_000 * DAY - 1, 5),  # the clock was set back a little, over the border
        (19_998 * DAY, 0),
    ],
)
def test_a_new_window_begins_at_nothing(later: float, used: int) -> None:
    """Use is forgotten when its window is over, and not because a clock is set right."""
    tally = Tally("key", DAY)
    spent(tally, "a", None, 5)
    assert left(tally, "a", wall=later) == used


def test_what_began_in_an_old_window_stays_there() -> None:
    """A stream that runs on into a new window uses up nothing of it."""
    tally = Tally("key", DAY)
    account = spent(tally, "a", None, 5)
    assert left(tally, "a", wall=NOW + DAY) == 0
    account.move(Use(completion_tokens=5), Use(completion_tokens=9))
    assert (account.use.completion_tokens, left(tally, "a", wall=NOW + DAY)) == (9, 0)


def test_too_many_users_cost_those_that_used_least() -> None:
    """At the bound the accounts with the least use are given up, never one with something that runs."""
    tally = Tally("user", DAY, most=20)
    live = spent(tally, "a", "live", 0)
    live.live = 1
    spent(tally, "a", "heavy", 1000)
    for number in range(100):
        spent(tally, "a", f"u{number}", 1 + number)
    assert len(tally) <= 20
    assert tally.forgotten == 102 - len(tally)
    assert tally.account(("a", "live"), NOW) is live
    assert left(tally, "a", "heavy") == 1000
    assert left(tally, "a", "u0") == 0
    assert tally.reached(Limits(completion_tokens=1000), NOW) == 1
