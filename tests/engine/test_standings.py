"""How budgets stand: who is shown."""

from decimal import Decimal

from proxy.core.budget import Budget, Limits, Tally
from proxy.core.use import Use
from proxy.engine.limits.standings import MOST_NAMED, standing

DAY = 86400.0
NOW = 1000 * DAY
BUDGET = Budget("user", Limits(seconds=Decimal(1000), completion_tokens=100), DAY)


def test_the_nearest_are_those_that_used_most_of_a_limit() -> None:
    """Who has used the largest part of any limit comes first, from four fifths on; a new window begins with nobody."""
    tally = Tally("user", DAY)
    for user, tokens in (("low", 79), ("near", 80), ("over", 130), ("full", 100)):
        tally.account(("key:acme", user), NOW).use = Use(1.0, tokens, Decimal(0))
    found = standing(BUDGET, tally, NOW, None)
    assert [(near.key_id, near.user, near.part) for near in found.nearest] == [
        ("acme", "over", 1.3),
        ("acme", "full", 1.0),
        ("acme", "near", 0.8),
    ]
    assert found.used_up == 2
    assert standing(BUDGET, tally, NOW + DAY, None).nearest == ()


def test_of_many_only_the_nearest_are_shown() -> None:
    """However many are over a budget, no more are named than a look takes in, those that used most."""
    tally = Tally("user", DAY)
    for number in range(MOST_NAMED + 5):
        tally.account(("key:acme", str(number)), NOW).use = Use(0.0, 100 + number, Decimal(0))
    found = standing(BUDGET, tally, NOW, None)
    assert len(found.nearest) == MOST_NAMED
    assert found.nearest[0].use.completion_tokens == 100 + MOST_NAMED + 4
    assert found.used_up == MOST_NAMED + 5
