"""Sums over the records: which ones, into which groups, and exactly."""

from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from proxy.core.lifecycle import Outcome
from proxy.core.money import COST_MOST
from proxy.stores.ledger import usage_sqlite
from proxy.stores.ledger.sqlite import SqliteLedger
from proxy.stores.ledger.usage import Span, TooManyGroupsError, UsageQuery, UsageRow
from support.ledgers import a_ledger
from support.settled import over, settle

ALL = UsageQuery(("route",))


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[SqliteLedger]:
    """A ledger with few records."""
    async with a_ledger(tmp_path / "q.db") as opened:
        yield opened


async def test_costs_are_summed_exactly_and_never_over_currencies(ledger: SqliteLedger) -> None:
    """Each digit of each cost counts, also where the sum is far beyond 64 bits; unknown ones are counted apart."""
    small = Decimal("0.123456789012")
    await settle(ledger, *(over(f"big{n}", cost=COST_MOST) for n in range(30)))
    await settle(ledger, *(over(f"small{n}", cost=small) for n in range(3)))
    await settle(ledger, over("eur", cost=Decimal("0.1"), currency="EUR"), over("none", cost=None, currency=None))
    (row,) = await ledger.usage(ALL)
    assert row.costs == {"USD": 30 * COST_MOST + 3 * small, "EUR": Decimal("0.1")}
    assert (row.generations, row.cost_unknown) == (35, 1)


async def test_a_cost_of_nothing_is_known(ledger: SqliteLedger) -> None:
    """What was billed with 0 is no unknown cost."""
    await settle(ledger, over(cost=Decimal(0)))
    (row,) = await ledger.usage(ALL)
    assert (row.costs, row.cost_unknown) == ({"USD": Decimal(0)}, 0)


async def test_every_count_has_its_sum(ledger: SqliteLedger) -> None:
    """Cached, reasoning, saved and late tokens are summed; a sum of which nothing is known is unknown."""
    facts: dict[str, Any] = {"cached_tokens": 2, "reasoning_tokens": 3, "saved_most": 90, "saved_typical": 40}
    await settle(ledger, over("u1", **facts), over("u2", **facts), over("u3"))
    (row,) = await ledger.usage(ALL)
    assert row == UsageRow(
        group=("/v1",),
        generations=3,
        prompt_tokens=21,
        completion_tokens=15,
        cached_tokens=4,
        reasoning_tokens=6,
        costs={"USD": Decimal("0.75")},
        saved_most=180,
        saved_typical=80,
        late_tokens=None,
        saved_unpriced=2,
    )
    assert row.total_tokens == 36


@pytest.mark.parametrize(
    ("filters", "uids"),
    [
        ({}, "abcd"),
        ({"span": Span(since=2.0)}, "bcd"),
        ({"span": Span(since=2.0, until=4.0)}, "bc"),
        ({"span": Span(until=2.0)}, "a"),
        ({"key_id": "k2"}, "b"),
        ({"user": "ann"}, "a"),
        ({"model": "m2"}, "c"),
        ({"route": "/v2"}, "d"),
        ({"outcome": Outcome.FAILED}, "d"),
        ({"tag": ("team", "x")}, "ac"),
        ({"tag": ("team", "x"), "model": "m2"}, "c"),
        ({"user": "nobody"}, ""),
    ],
)
@pytest.mark.parametrize("much", [0, 10**9])
async def test_filters_choose_the_records(
    ledger: SqliteLedger, monkeypatch: pytest.MonkeyPatch, filters: dict[str, Any], uids: str, much: int
) -> None:
    """Only what fits all filters is summed, whether it is looked up by its start or read in the file's order."""
    monkeypatch.setattr(usage_sqlite, "_MUCH", much)
    await settle(
        ledger,
        over("a", started_at=1.0, user="ann", tags={"team": "x"}, prompt_tokens=1),
        over("b", started_at=2.0, key_id="k2", prompt_tokens=10),
        over("c", started_at=3.0, model="m2", tags={"team": "x"}, prompt_tokens=100),
        over("d", started_at=4.0, route="/v2", outcome=Outcome.FAILED, prompt_tokens=1000),
    )
    found = await ledger.usage(UsageQuery(("key",), **filters))
    expected = sum(10 ** "abcd".index(uid) for uid in uids)
    assert sum(row.prompt_tokens or 0 for row in found) == expected


async def test_too_many_groups_are_refused(ledger: SqliteLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer is never cut: what has more groups than one takes is refused."""
    monkeypatch.setattr(usage_sqlite, "MOST_GROUPS", 2)
    await settle(ledger, *(over(f"u{n}", user=f"user-{n}") for n in range(2)))
    assert len(await ledger.usage(UsageQuery(("user",)))) == 2
    await settle(ledger, over("u2", user="user-2"))
    with pytest.raises(TooManyGroupsError):
        await ledger.usage(UsageQuery(("user",)))


async def test_half_a_count_is_no_count(ledger: SqliteLedger) -> None:
    """A generation whose prompt or completion nobody could count adds what is known, and is counted as unknown."""
    counts = (("a", 7, 5), ("b", 7, None), ("c", None, 5), ("d", None, None))
    await settle(ledger, *(over(uid, prompt_tokens=prompt, completion_tokens=made) for uid, prompt, made in counts))
    (row,) = await ledger.usage(ALL)
    assert (row.prompt_tokens, row.completion_tokens, row.unknown) == (14, 10, 3)


async def test_what_runs_is_counted_as_unknown(ledger: SqliteLedger) -> None:
    """A running generation is a generation without counts and without a cost."""
    await ledger.begin(
        over(outcome=Outcome.RUNNING, ended_at=None, prompt_tokens=None, completion_tokens=None, cost=None)
    )
    (row,) = await ledger.usage(UsageQuery(("outcome",)))
    assert (row.group, row.unknown, row.cost_unknown, row.total_tokens) == (("running",), 1, 1, None)
