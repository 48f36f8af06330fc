"""Money: decimals only, to a fixed number of digits, so that any number of costs is summed without an error."""

from decimal import ROUND_HALF_EVEN, Decimal
from typing import Final

COST_DIGITS: Final = 12
"""Digits behind the point that a cost has: a price of six such digits for a million tokens is exact for each token."""

COST_MOST: Final = Decimal(9_000_000)
"""No cost of one generation is larger: in units of its last digit it must fit into 64 bits."""

COST_PART: Final = 10**9
"""SQL sums the units of costs in two parts, what this divides and what is left: each of them is far from 64 bits."""

_UNIT: Final = Decimal(1).scaleb(-COST_DIGITS)


def cost_units(cost: Decimal) -> int:
    """A cost in units of its last digit, rounded half to even.

    Raises:
        ValueError: it is negative, no number, or larger than `COST_MOST`.
    """
    if not cost.is_finite() or not 0 <= cost <= COST_MOST:
        raise ValueError(f"a cost is from 0 to {COST_MOST}, not {cost}")
    return int(cost.quantize(_UNIT, ROUND_HALF_EVEN).scaleb(COST_DIGITS))


def cost_of(units: int) -> Decimal:
    """The cost of so many units."""
    return Decimal(units).scaleb(-COST_DIGITS)


def cost_text(cost: Decimal) -> str:
    """A cost as people and JSON see it: plain digits, no zeros at the end."""
    text = f"{cost:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
