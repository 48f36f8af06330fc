"""The types of the price file: what stands at its top, and the prices of one model.

The models are checked one by one (`price_file.py`), so that each may stand in a mapping or in a list.
"""

import re
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Annotated, Final

from pydantic import AfterValidator, BeforeValidator, Field, SkipValidation, WithJsonSchema

from proxy.core.price_list import LONGEST_NAME
from proxy.core.prices import check_amount, digits_of
from proxy.core.settings.scalar_types import Name, Section

AMOUNT_PATTERN: Final = r"^(0|[1-9][0-9]*)(\.[0-9]+)?$"
DATE_PATTERN: Final = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"


def check_model(name: str) -> str:
    """A model's name, or a pattern.

    Raises:
        ValueError: it is empty, too long, or has in it what no name has.
    """
    if not 0 < len(name) <= LONGEST_NAME:
        raise ValueError(f"a model's name has 1 to {LONGEST_NAME} characters")
    if name != name.strip() or not name.isprintable():
        raise ValueError("a model's name has no blanks at its ends and no control characters")
    return name


def _amount(digits: int) -> BeforeValidator:
    """A decimal number in quotes with at most so many digits behind the point."""

    def validate(value: object) -> Decimal:
        if isinstance(value, (int, Decimal)) and not isinstance(value, bool):
            raise ValueError(  # noqa: TRY004 - pydantic collects ValueError, not TypeError
                f'put it in quotes: "{value}"; a price is a text, so that no reader rounds it'
            )
        if isinstance(value, str) and re.fullmatch(AMOUNT_PATTERN, value.removeprefix("-")):
            amount = Decimal(value)
            check_amount(amount, digits)
            return amount
        raise ValueError('expected a decimal number in quotes, such as "0.15"')

    return BeforeValidator(validate)


def _day(value: object) -> date:
    if not isinstance(value, str) or not re.fullmatch(DATE_PATTERN, value):
        raise ValueError('expected a day in quotes, such as "2026-01-31"')
    try:
        return date.fromisoformat(value)
    except ValueError:
        raise ValueError("there is no such day") from None


_amount_schema = WithJsonSchema({"type": "string", "pattern": AMOUNT_PATTERN, "examples": ["0.15"]})
_day_schema = WithJsonSchema({"type": "string", "pattern": DATE_PATTERN, "examples": ["2026-01-31"]})

PerMillion = Annotated[Decimal, _amount(digits_of("input")), _amount_schema]
PerRequest = Annotated[Decimal, _amount(digits_of("per_request")), _amount_schema]
Day = Annotated[date, BeforeValidator(_day), _day_schema]


class PriceEntry(Section):
    """The prices of a model; but for `per_request`, of a million tokens."""

    input: PerMillion = Field(description="A million prompt tokens.")
    output: PerMillion = Field(description="A million completion tokens.")
    cached: PerMillion | None = Field(None, description="A million prompt tokens from a cache. Default: input.")
    reasoning: PerMillion | None = Field(None, description="A million reasoning tokens. Default: output.")
    per_request: PerRequest = Field(Decimal(0), description="Each request, whatever its tokens.")
    upstream: Name | None = Field(None, description="The only upstream that it is for. Default: all.")
    valid_from: Day | None = Field(None, description="The day on which it begins to count, from midnight UTC.")


class NamedEntry(PriceEntry):
    """The same in a list, with the model's name."""

    model: Annotated[str, AfterValidator(check_model)] = Field(description="A model; * and ? are wildcards.")


Listed = Mapping[str, PriceEntry | tuple[PriceEntry, ...]] | tuple[NamedEntry, ...]


class PriceFile(Section):
    """The whole file."""

    version: Name = Field(description="A name for this list, such as a date; records keep it.")
    currency: Annotated[str, Field(pattern="^[A-Z]{3}$")] = Field(
        description="The currency of all prices, in three letters, the same as prices.currency."
    )
    models: SkipValidation[Listed] = Field(
        description="The prices by model, one or a list for each, or one list in which each names its model."
    )
