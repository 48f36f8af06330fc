"""Money is exact: what is written is what was meant, to the last digit."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.money import COST_MOST, cost_of, cost_text, cost_units


@given(st.decimals(0, COST_MOST, places=12))
def test_a_cost_comes_back_as_it_was(cost: Decimal) -> None:
    """In units and back, or as a text and back, a cost of twelve digits is the same."""
    assert cost_of(cost_units(cost)) == cost
    assert Decimal(cost_text(cost)) == cost


@pytest.mark.parametrize(
    ("cost", "units"),
    [("0.0000000000004", 0), ("0.0000000000005", 0), ("0.0000000000015", 2), ("0.0000000000016", 2)],
)
def test_what_is_finer_is_rounded_half_to_even(cost: str, units: int) -> None:
    """Many rounded costs don't drift to one side."""
    assert cost_units(Decimal(cost)) == units


@pytest.mark.parametrize("cost", ["-0.01", "NaN", "Infinity", "9000000.01"])
def test_what_is_no_cost_is_refused(cost: str) -> None:
    """A negative, an endless or an absurd cost is an error, never another number."""
    with pytest.raises(ValueError, match="a cost is from 0 to 9000000"):
        cost_units(Decimal(cost))


@pytest.mark.parametrize(
    ("cost", "text"), [("0", "0"), ("0E-12", "0"), ("1.50", "1.5"), ("100", "100"), ("0.000037500000", "0.0000375")]
)
def test_a_cost_is_shown_in_plain_digits(cost: str, text: str) -> None:
    """No exponent, and no zeros that say nothing."""
    assert cost_text(Decimal(cost)) == text
