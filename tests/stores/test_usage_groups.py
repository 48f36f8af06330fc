"""Sums by hour, cause, upstream and replica, and what was saved in money: in SQLite and in PostgreSQL alike."""

from collections.abc import AsyncIterator, Awaitable, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from proxy.core.lifecycle import Cause, Outcome
from proxy.core.prices import LARGEST_PRICE, Price, frozen
from proxy.core.record import Record
from proxy.stores.ledger.usage import SavedCost, UsageQuery, UsageRow, added_up
from support.ledgers import a_ledger
from support.postgres import Database
from support.settled import over
from support.settled import settle as settle_here
from support.shared_ledgers import a_shared_ledger, all_of_it
from support.shared_ledgers import settle as settle_shared

Sums = Callable[..., Awaitable[list[UsageRow]]]
"""Puts records into a ledger, and sums them up by groups."""


@pytest.fixture(params=["sqlite", "postgres"])
async def sums(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Sums]:
    """Both databases, one after the other."""
    if request.param == "sqlite":
        async with a_ledger(tmp_path / "q.db") as ledger:

            async def here(by: str, *records: Record) -> list[UsageRow]:
                await settle_here(ledger, *records)
                return await ledger.usage(UsageQuery(tuple(by.split(","))))

            yield here
        return
    database: Database = request.getfixturevalue("database")
    async with a_shared_ledger(tmp_path / "q.db", database.url) as shared:

        async def there(by: str, *records: Record) -> list[UsageRow]:
            await settle_shared(shared, *records)
            await all_of_it(shared.forwarder)
            return await shared.usage(UsageQuery(tuple(by.split(","))))

        yield there


def a_price(output: str, currency: str = "USD") -> str:
    """A frozen price with so much for a million completion tokens."""
    zero = Decimal(0)
    return frozen(Price(zero, Decimal(output), zero, zero, zero, currency, "1", "m"))


def stopped(uid: str, **facts: Any) -> Record:
    """A record that a client stopped."""
    return over(uid, **({"outcome": Outcome.CANCELLED, "cause": Cause.CLIENT, "price": a_price("10")} | facts))


@pytest.mark.parametrize(
    ("by", "groups"),
    [
        ("hour", {("2024-02-29T00:00Z",): 2, ("2024-02-29T23:00Z",): 1}),
        ("cause", {(None,): 1, ("client",): 1, ("budget",): 1}),
        ("upstream", {("openai",): 2, ("other",): 1}),
        ("replica", {("one",): 2, ("two",): 1}),
        ("upstream,cause", {("openai", None): 1, ("openai", "client"): 1, ("other", "budget"): 1}),
    ],
)
async def test_each_group_has_its_records(sums: Sums, by: str, groups: dict[tuple[str | None, ...], int]) -> None:
    """Hours are UTC and begin on the hour; what has no cause is a group of its own."""
    day = 1709164800.0
    rows = await sums(
        by,
        over("a", started_at=day),
        stopped("b", started_at=day + 3599.9),
        stopped("c", started_at=day + 86399, cause=Cause.BUDGET, upstream="other", replica="two"),
    )
    assert {row.group: row.generations for row in rows} == groups


async def test_savings_are_priced_as_each_record_was(sums: Sums) -> None:
    """Each record's saved tokens count at its own frozen price, exactly, by currency; the range has both ends."""
    (row,) = await sums(
        "route",
        stopped("a", saved_typical=100, saved_most=4000, price=a_price("10.000001")),
        stopped("b", saved_typical=7, saved_most=7, price=a_price("0.5")),
        stopped("c", saved_most=1_000_000, price=a_price("2", "EUR")),
        over("d"),
    )
    assert row.saved_costs == {
        "USD": SavedCost(Decimal("0.0010000001") + Decimal("0.0000035"), Decimal("0.040000004") + Decimal("0.0000035")),
        "EUR": SavedCost(None, Decimal(2)),
    }
    assert (row.saved_unpriced, row.saved_typical, row.saved_most) == (0, 107, 1_004_007)


async def test_savings_without_a_price_are_unknown(sums: Sums) -> None:
    """Saved tokens whose price nobody knows are in no sum of money, and are counted as such; never as nothing."""
    (row,) = await sums("route", stopped("a", saved_most=10, price=None), stopped("b", saved_typical=5, price=None))
    assert (row.saved_costs, row.saved_unpriced) == ({}, 2)


async def test_savings_are_exact_where_they_are_huge(sums: Sums) -> None:
    """No digit is lost where tokens and prices are the largest that there are."""
    largest, most = LARGEST_PRICE - Decimal("0.000001"), 10**12
    records = [stopped(f"u{n}", saved_most=most, price=a_price(str(largest))) for n in range(12)]
    (row,) = await sums("route", *records)
    assert row.saved_costs["USD"].most == 12 * 10**6 * largest


async def test_a_void_settlement_saves_all_the_same(sums: Sums) -> None:
    """What costs nothing because it was stopped has saved what the rest would have cost."""
    (row,) = await sums("route", stopped("a", cost=Decimal(0), saved_typical=100, saved_most=100))
    assert row.saved_costs == {"USD": SavedCost(Decimal("0.001"), Decimal("0.001"))}


async def test_stopped_and_complete_answers_of_a_group_cost_together(sums: Sums) -> None:
    """A group's cost is that of all its records, whether a stop saved something of them, or nothing."""
    (row,) = await sums(
        "route",
        over("a", cost=Decimal("0.25")),
        stopped("b", cost=Decimal("0.5"), saved_most=10),
        stopped("c", cost=Decimal(1), saved_most=10, price=a_price("2", "EUR")),
    )
    assert (row.costs, row.cost_unknown) == ({"USD": Decimal("1.75")}, 0)


async def test_all_groups_add_up(sums: Sums) -> None:
    """The sum over all groups is the sum over all records; what is known of nothing stays unknown."""
    records = [stopped(f"u{n}", upstream="ab"[n % 2], saved_most=n, price=a_price("3")) for n in range(4)]
    rows = await sums("upstream", *records)
    whole = added_up(rows)
    assert len(rows) == 2
    assert (whole.generations, whole.prompt_tokens, whole.saved_most, whole.late_tokens) == (4, 28, 6, None)
    assert whole.costs == {"USD": Decimal(1)}
    assert whole.saved_costs == {"USD": SavedCost(None, Decimal("0.000018"))}
