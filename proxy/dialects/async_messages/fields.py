"""Checks of one field each: the value in its type, or a 422 that says where and what was expected, never what came."""

from typing import Any

from proxy.dialects.async_messages.errors import invalid

Where = tuple[str | int, ...]
"""The way to a field from the body."""


def text(value: Any, where: Where, *, empty: bool = False) -> str:
    """A string; an empty one only where it makes sense."""
    if not isinstance(value, str):
        raise invalid(where, "must be a string")
    if not value and not empty:
        raise invalid(where, "must not be empty")
    return value


def number(value: Any, where: Where, low: float, high: float) -> float:
    """A number within bounds, both included."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise invalid(where, f"must be a number from {low:g} to {high:g}")
    return value


def whole(value: Any, where: Where, low: int | None = None) -> int:
    """A whole number, not below `low`."""
    if type(value) is not int or (low is not None and value < low):
        raise invalid(where, "must be a whole number" + ("" if low is None else f" from {low} on"))
    return value


def flag(value: Any, where: Where) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise invalid(where, "must be true or false")
    return value


def mapping(value: Any, where: Where) -> dict[str, Any]:
    """An object."""
    if not isinstance(value, dict):
        raise invalid(where, "must be an object")
    return value


def items(value: Any, where: Where, *, empty: bool = False) -> list[Any]:
    """A list; an empty one only where it makes sense."""
    if not isinstance(value, list):
        raise invalid(where, "must be a list")
    if not value and not empty:
        raise invalid(where, "must not be empty")
    return value


def word(value: Any, where: Where, *words: str) -> str:
    """One of some words."""
    if not isinstance(value, str) or value not in words:
        raise invalid(where, f"must be one of {', '.join(words)}")
    return value
