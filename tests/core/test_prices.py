"""A price and the cost at it: exact, never a float, and the same after it was frozen."""

from dataclasses import replace
from decimal import Decimal, localcontext
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.money import COST_MOST
from proxy.core.prices import AMOUNTS, Costs, Price, completion_cost, cost, costs, frozen, thawed
from proxy.core.usage import MAX_COUNT, Usage

amounts = st.decimals(0, 1000, places=6)
counts = st.integers(0, 10_000_000)


def a_price(given: str = "0", made: str = "0", cached: str | None = None, **more: str) -> Price:
    """A price of these amounts; cached and reasoning as a list without them has them."""
    return Price(
        Decimal(given),
        Decimal(made),
        Decimal(given if cached is None else cached),
        Decimal(more.get("reasoning", made)),
        Decimal(more.get("per_request", "0")),
        "USD",
        "v+0",
        "m",
    )


@st.composite
def prices(draw: st.DrawFn) -> Price:
    """Any price without a fee for the request."""
    return Price(draw(amounts), draw(amounts), draw(amounts), draw(amounts), Decimal(0), "USD", "v+0", "m")


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    """Any usage whose parts fit into their wholes."""
    prompt, completion = draw(counts), draw(counts)
    return Usage(prompt, completion, draw(st.integers(0, prompt)), draw(st.integers(0, completion)))


MINI = a_price("0.15", "0.60", "0.075")

GOLDEN = [
    (MINI, Usage(12, 213), "0.0001296"),
    (MINI, Usage(0, 0), "0"),
    (MINI, Usage(1, 0), "0.00000015"),
    (MINI, Usage(1000, 500, 400, 100), "0.00042"),
    (MINI, Usage(1000, 500, 1000, 500), "0.000375"),
    (MINI, Usage(10, 0, 99), "0.00000075"),
    (a_price("2.50", "10", "1.25", reasoning="12"), Usage(2_000_000, 100, 1_000_000, 60), "3.75112"),
    (a_price("0.000001", "0"), Usage(1, 0), "0.000000000001"),
    (a_price("0", "0", per_request="0.005"), Usage(5, 5), "0.005"),
    (a_price("1", "1", per_request="0.000000000001"), Usage(1, 1), "0.000002000001"),
]


@pytest.mark.parametrize(("price", "usage", "expected"), GOLDEN)
def test_what_a_generation_costs(price: Price, usage: Usage, expected: str) -> None:
    """Worked out by hand: cached tokens are part of the prompt, reasoning part of the completion."""
    assert cost(price, usage) == Decimal(expected)
    parts = costs(price, usage)
    assert parts is not None
    assert parts.total == Decimal(expected)


def test_the_parts() -> None:
    """Prompt, completion and request are told apart."""
    price = a_price("2", "4", "1", reasoning="8", per_request="0.5")
    half_cached = Usage(1_000_000, 1_000_000, 500_000, 250_000)
    assert costs(price, half_cached) == Costs(Decimal("1.5"), Decimal(5), Decimal("0.5"))


@pytest.mark.parametrize("usage", [Usage(), Usage(7), Usage(None, 5), Usage(cached_tokens=3)])
def test_an_unknown_count_is_an_unknown_cost(usage: Usage) -> None:
    """It is None and never 0, also where a request has a price."""
    assert cost(a_price("0", "0", per_request="1"), usage) is None


@given(prices(), usages(), usages())
def test_the_cost_of_a_sum_is_the_sum_of_costs(price: Price, one: Usage, other: Usage) -> None:
    """No digit is lost on the way: prices of six digits are exact for each token."""
    both = Usage(*(getattr(one, name) + getattr(other, name) for name in Usage.__slots__[:4]))
    separate = [cost(price, one), cost(price, other)]
    assert cost(price, both) == sum(filter(None, separate))


@given(prices(), usages(), st.integers(0, 1000), st.integers(0, 1000))
def test_more_tokens_never_cost_less(price: Price, usage: Usage, more: int, extra: int) -> None:
    """A longer prompt or answer, with the same tokens cached and reasoned, costs at least as much."""
    longer = Usage(
        (usage.prompt_tokens or 0) + more,
        (usage.completion_tokens or 0) + extra,
        usage.cached_tokens,
        usage.reasoning_tokens,
    )
    less, most = cost(price, usage), cost(price, longer)
    assert less is not None
    assert most is not None
    assert less <= most


@given(prices(), usages())
def test_whoever_set_the_decimal_context_changes_nothing(price: Price, usage: Usage) -> None:
    """A cost does not depend on the thread's precision."""
    expected = cost(price, usage)
    with localcontext(prec=50):
        assert cost(price, usage) == expected
    assert type(expected) is Decimal


def test_absurd_counts_are_no_cost() -> None:
    """What can't be a cost is an error, not another number; the largest one is still exact."""
    with pytest.raises(ValueError, match="a cost is from 0 to"):
        cost(a_price("1000000"), Usage(MAX_COUNT, 0))
    assert cost(a_price("1000000"), Usage(int(COST_MOST), 0)) == COST_MOST


@given(prices())
def test_a_frozen_price_comes_back(price: Price) -> None:
    """What a record keeps is the price, to the last digit."""
    assert thawed(frozen(price)) == price
    assert '"currency": "USD"' in frozen(price)


@pytest.mark.parametrize("name", AMOUNTS)
@pytest.mark.parametrize("amount", [0.15, 1, "0.15", None])
def test_only_decimals_are_amounts(name: str, amount: Any) -> None:
    """A float is refused wherever it comes from: it is not the number that was written."""
    with pytest.raises(TypeError, match=f"{name} must be a Decimal"):
        replace(MINI, **{name: amount})


@pytest.mark.parametrize("amount", ["-0.01", "NaN", "Infinity", "1000000.01", "0.0000001"])
def test_what_is_no_price_is_refused(amount: str) -> None:
    """Negative, endless, absurd, or finer than a cost."""
    with pytest.raises(ValueError, match=r"expected|negative"):
        a_price(amount)


@pytest.mark.parametrize("text", ["", "7", "{}", '{"input": "1"}', frozen(MINI).replace('"0.15"', "0.15")])
def test_what_is_no_frozen_price_is_refused(text: str) -> None:
    """Half a price is none, and one with a float in it neither."""
    with pytest.raises(ValueError, match=r"not a price|Expecting"):
        thawed(text)


def test_what_was_not_made_is_priced_exactly() -> None:
    """So many completion tokens at a price are exact to the last digit, and may be more than one answer ever has."""
    zero = Decimal(0)
    price = Price(zero, Decimal("10.000001"), zero, zero, zero, "USD", "1", "m")
    assert completion_cost(price, 3) == Decimal("0.000030000003")
    assert completion_cost(price, 10**18) == Decimal(10000001000000)
