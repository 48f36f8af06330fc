"""A price, and what a generation costs at it. Decimals only, never a float.

All prices but `per_request` are for a million tokens.
"""

import json
from dataclasses import dataclass, fields
from decimal import ROUND_HALF_EVEN, Context, Decimal, DivisionByZero, FloatOperation, InvalidOperation
from typing import Any, Final

from proxy.core.money import COST_DIGITS, cost_of, cost_text, cost_units
from proxy.core.usage import Usage

MILLION_DIGITS: Final = 6
PRICE_DIGITS: Final = COST_DIGITS - MILLION_DIGITS
"""Digits behind the point of a price for a million tokens: then the cost of each token is exact."""
LARGEST_PRICE: Final = Decimal(1_000_000)
_EXACT: Final = Context(prec=80, rounding=ROUND_HALF_EVEN, traps=[InvalidOperation, DivisionByZero, FloatOperation])
"""Wide enough for the largest counts and prices, so that only the last step rounds; a float is an error in it."""


@dataclass(frozen=True, slots=True)
class Price:
    """The unit prices of one model, as they are frozen into a record.

    `currency` is its three letters, `version` names the list and its exact content, `model` the entry of that list.

    Raises:
        TypeError: an amount is no `Decimal`.
        ValueError: an amount is negative, no number, too large, or finer than a cost can be.
    """

    input: Decimal
    output: Decimal
    cached: Decimal
    reasoning: Decimal
    per_request: Decimal
    currency: str
    version: str
    model: str

    def __post_init__(self) -> None:
        for name in AMOUNTS:
            amount: object = getattr(self, name)
            if not isinstance(amount, Decimal):
                raise TypeError(f"{name} must be a Decimal, not {type(amount).__name__}")
            check_amount(amount, digits_of(name))


AMOUNTS: Final = ("input", "output", "cached", "reasoning", "per_request")


def digits_of(amount: str) -> int:
    """How many digits behind the point an amount of a price may have."""
    return COST_DIGITS if amount == "per_request" else PRICE_DIGITS


def check_amount(amount: Decimal, digits: int) -> None:
    """Refuse what is no amount of a price.

    Raises:
        ValueError: it is negative, no number, too large, or has more than so many digits behind the point.
    """
    if not amount.is_finite():
        raise ValueError("expected a finite number")
    if amount < 0:
        raise ValueError("a price can't be negative")
    if amount > LARGEST_PRICE:
        raise ValueError(f"expected a price of at most {LARGEST_PRICE}")
    if amount != amount.quantize(Decimal(1).scaleb(-digits), context=_EXACT):
        raise ValueError(f"expected at most {digits} digits behind the point")


def frozen(price: Price) -> str:
    """The price as a record keeps it: a JSON object, every amount as a text."""
    texts = {each.name: getattr(price, each.name) for each in fields(price)}
    return json.dumps({name: cost_text(part) if name in AMOUNTS else part for name, part in texts.items()})


def thawed(text: str) -> Price:
    """The price that a record keeps.

    Raises:
        ValueError: it is none.
    """
    try:
        found: dict[str, Any] = json.loads(text)
        amounts: dict[str, Any] = {name: _EXACT.create_decimal(found.pop(name)) for name in AMOUNTS}
        return Price(**amounts, **found)
    except (TypeError, AttributeError, LookupError, ArithmeticError) as error:
        raise ValueError(f"not a price: {text[:200]}") from error


@dataclass(frozen=True, slots=True)
class Costs:
    """What a generation costs, part by part."""

    prompt: Decimal
    completion: Decimal
    request: Decimal

    @property
    def total(self) -> Decimal:
        """All of it."""
        return _EXACT.add(_EXACT.add(self.prompt, self.completion), self.request)


def costs(price: Price, usage: Usage) -> Costs | None:
    """The parts of the cost; None while the count of prompt or completion is unknown.

    Cached tokens are part of the prompt, reasoning tokens of the completion (OpenAI's usage object). Where they are
    unknown, none were: all are paid for in full. More of them than of the whole count as the whole.

    Raises:
        ValueError: it is more than a cost can be.
    """
    prompt, completion = usage.prompt_tokens, usage.completion_tokens
    if prompt is None or completion is None:
        return None
    cached, reasoning = min(usage.cached_tokens or 0, prompt), min(usage.reasoning_tokens or 0, completion)
    return Costs(
        _exact((prompt - cached, price.input), (cached, price.cached)),
        _exact((completion - reasoning, price.output), (reasoning, price.reasoning)),
        cost_of(cost_units(price.per_request)),
    )


def cost(price: Price, usage: Usage) -> Decimal | None:
    """The cost, rounded as `core.money` says; None while the count of prompt or completion is unknown.

    Raises:
        ValueError: it is more than a cost can be.
    """
    parts = costs(price, usage)
    return None if parts is None else cost_of(cost_units(parts.total))


def completion_cost(price: Price, tokens: int) -> Decimal:
    """What so many completion tokens would cost, exactly: also so many that no single generation may have them."""
    return _EXACT.multiply(Decimal(tokens), price.output).scaleb(-MILLION_DIGITS, context=_EXACT)


def _exact(*parts: tuple[int, Decimal]) -> Decimal:
    """What so many tokens cost at so much a million."""
    total = Decimal(0)
    for tokens, amount in parts:
        total = _EXACT.fma(Decimal(tokens), amount, total)
    return cost_of(cost_units(total.scaleb(-MILLION_DIGITS, context=_EXACT)))
