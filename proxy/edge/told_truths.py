"""Reading later truths from a call's body: every field checked, and the place of the wrong one named."""

from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from proxy.config_file.problems import did_you_mean
from proxy.core.errors import Refusal
from proxy.core.money import cost_units
from proxy.core.settled import TRUTH_COUNTS, Truth
from proxy.edge.admin.query import flag
from proxy.stores.ledger.truths import Told

MOST_TRUTHS: Final = 500
"""Truths of one call; they are written in one transaction."""

MOST_TOKENS: Final = 10**12
MOST_CHARACTERS: Final = 256
_CURRENCY: Final = 3
_FIELDS: Final = ("upstream_id", "upstream", *TRUTH_COUNTS, "cost", "currency", "source")


def told_truths(fields: dict[str, Any], now: float) -> tuple[list[Told], bool]:
    """The truths of a body, and whether it is a dry run; `now` is in seconds since the epoch.

    Raises:
        Refusal: 400, with the index and field that is wrong, and what was expected.
    """
    given = fields.get("truths")
    if not isinstance(given, list) or not 0 < len(given) <= MOST_TRUTHS:
        raise _wrong("truths", f"must be a list of 1 to {MOST_TRUTHS} objects")
    return [_told(one, f"truths[{index}]", now) for index, one in enumerate(given)], flag(fields, "dry_run")


def _told(given: Any, at: str, now: float) -> Told:
    if not isinstance(given, dict):
        raise _wrong(at, "must be an object")
    for name in given:
        if name not in _FIELDS:
            raise _wrong(at, f"has a field that is not known here{did_you_mean(str(name), sorted(_FIELDS))}")
    upstream_id, source = (_text(given, name, at) for name in ("upstream_id", "source"))
    if upstream_id is None or source is None:
        raise _wrong(at, "needs upstream_id and source")
    counts = {name: _count(given, name, at) for name in TRUTH_COUNTS}
    cost, currency = _cost(given, at), _currency(given, at)
    if cost is None and not any(count is not None for count in counts.values()):
        raise _wrong(at, "says nothing: it needs a token count or a cost")
    if (cost is None) != (currency is None):
        raise _wrong(at, "needs cost and currency together")
    truth = Truth(source=source, at=now, **counts, cost=cost, currency=currency)
    return Told(upstream_id, truth, _text(given, "upstream", at))


def _text(given: dict[str, Any], name: str, at: str) -> str | None:
    def fits(value: Any) -> bool:
        return isinstance(value, str) and 0 < len(value) <= MOST_CHARACTERS

    text: str | None = _field(given, name, at, fits, f"a string of 1 to {MOST_CHARACTERS} characters")
    return text


def _count(given: dict[str, Any], name: str, at: str) -> int | None:
    def fits(value: Any) -> bool:
        return type(value) is int and 0 <= value <= MOST_TOKENS

    count: int | None = _field(given, name, at, fits, f"a whole number from 0 to {MOST_TOKENS}")
    return count


def _currency(given: dict[str, Any], at: str) -> str | None:
    def fits(value: Any) -> bool:
        return isinstance(value, str) and len(value) == _CURRENCY and value.isascii() and value.isupper()

    currency: str | None = _field(given, "currency", at, fits, "three capital letters, such as USD")
    return currency


def _cost(given: dict[str, Any], at: str) -> Decimal | None:
    expected = 'a decimal number as a string, such as "0.0125", from 0 to 9000000'
    text = _field(given, "cost", at, lambda value: isinstance(value, str), expected)
    if text is None:
        return None
    try:
        cost = Decimal(text)
        cost_units(cost)
    except (InvalidOperation, ValueError):
        raise _wrong(f"{at}.cost", f"must be {expected}") from None
    return cost


def _field(given: dict[str, Any], name: str, at: str, fits: Callable[[Any], bool], expected: str) -> Any:
    value = given.get(name)
    if value is not None and not fits(value):
        raise _wrong(f"{at}.{name}", f"must be {expected}")
    return value


def _wrong(at: str, what: str) -> Refusal:
    return Refusal.bad_request("invalid_parameter", f"{at} {what}.", at)
