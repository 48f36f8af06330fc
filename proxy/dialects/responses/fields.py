"""Checks of the fields of a request, in OpenAI's words: each refusal names the field and what was expected."""

from typing import Any, Final

from proxy.core.errors import Refusal

MOST_NAME: Final = 512
"""Characters of a string for which nothing else is documented: ids and names."""
_SHOWN: Final = 60


def wrong(param: str, expected: str, code: str = "invalid_value") -> Refusal:
    """400: a field is not what it should be."""
    return Refusal.bad_request(code, f"Invalid '{param}': expected {expected}.", param)


def not_served(param: str, what: str) -> Refusal:
    """400: the API has it, and it can't be had here."""
    return Refusal.bad_request("unsupported_parameter", f"'{param}' can't be had here: {what}.", param)


def missing(param: str) -> Refusal:
    """400: a required field is not there."""
    return Refusal.bad_request("missing_required_parameter", f"Missing required parameter: '{param}'.", param)


def unknown(name: str) -> Refusal:
    """400: the API has no such field."""
    shown = "".join(sign for sign in name[:_SHOWN] if sign.isprintable())
    return Refusal.bad_request("unknown_parameter", f"Unknown parameter: '{shown}'.", shown)


def text(value: Any, param: str, most: int | None = MOST_NAME, *, empty: bool = False) -> str:
    """A string."""
    if not isinstance(value, str):
        raise wrong(param, "a string", "invalid_type")
    if not value and not empty:
        raise wrong(param, "a string that is not empty")
    if most is not None and len(value) > most:
        raise wrong(param, f"at most {most} characters")
    return value


def flag(value: Any, param: str) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise wrong(param, "true or false", "invalid_type")
    return value


def whole(value: Any, param: str, least: int, most: int | None = None) -> int:
    """A whole number."""
    if type(value) is not int:
        raise wrong(param, "a whole number", "invalid_type")
    if value < least or (most is not None and value > most):
        raise wrong(param, f"at least {least}" if most is None else f"a whole number from {least} to {most}")
    return value


def number(value: Any, param: str, least: float, most: float) -> float:
    """A number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise wrong(param, "a number", "invalid_type")
    if not least <= value <= most:
        raise wrong(param, f"a number from {least:g} to {most:g}")
    return value


def word(value: Any, param: str, *allowed: str) -> str:
    """One of some words."""
    if not isinstance(value, str) or value not in allowed:
        raise wrong(param, f"one of {', '.join(allowed)}")
    return value


def mapping(value: Any, param: str) -> dict[str, Any]:
    """An object."""
    if not isinstance(value, dict):
        raise wrong(param, "an object", "invalid_type")
    return value


def items(value: Any, param: str, most: int) -> list[Any]:
    """An array."""
    if not isinstance(value, list):
        raise wrong(param, "an array", "invalid_type")
    if len(value) > most:
        raise wrong(param, f"at most {most} entries")
    return value
