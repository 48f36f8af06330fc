"""Reading the fields of a body: every one that is wrong is named, all in one answer. `null` counts as left out."""

from collections.abc import Callable, Sequence
from typing import Any, Final

from proxy.core.request_body import BodyError
from proxy.dialects.aitronos.errors import Invalid, invalid
from proxy.engine.translating.desk import Desk

MAX_STRING: Final = 512
"""Characters of a string for which nothing else is documented: ids and names."""
MAX_ERRORS: Final = 50
"""So many errors are told at once; a body may have thousands."""


class Fields:
    """The fields of one object, and what is wrong in it and below."""

    def __init__(self, found: dict[str, Any], errors: dict[str, str] | None = None, path: str = "") -> None:
        self.found = found
        self.errors: dict[str, str] = {} if errors is None else errors
        self._path = path

    def wrong(self, name: str, expected: str) -> None:
        """Note what a field should have been; `name` "" is the object itself."""
        path = ".".join(part for part in (self._path, name) if part)
        if len(self.errors) < MAX_ERRORS:
            self.errors.setdefault(path, expected)

    def below(self, name: str, found: dict[str, Any]) -> "Fields":
        """The fields of an object within this one."""
        return Fields(found, self.errors, ".".join(part for part in (self._path, name) if part))

    def check(self) -> None:
        """Refuse the body if anything is wrong in it.

        Raises:
            Refusal: 422.
        """
        if self.errors:
            raise invalid(self.errors)

    def string(self, name: str, most: int = MAX_STRING) -> str | None:
        """A string; an empty one counts as left out."""
        value = self._typed(name, lambda value: isinstance(value, str), "expected a string")
        if value is not None and len(value) > most:
            self.wrong(name, f"expected at most {most} characters")
            return None
        return value or None

    def flag(self, name: str, default: bool) -> bool:
        """True or false."""
        value = self._typed(name, lambda value: isinstance(value, bool), "expected true or false")
        return default if value is None else bool(value)

    def fraction(self, name: str) -> float | None:
        """A number from 0 to 1."""
        expected = "expected a number from 0 to 1"
        value: float | None = self._typed(name, _is_number, expected)
        if value is not None and not 0 <= value <= 1:
            self.wrong(name, expected)
            return None
        return value

    def whole(self, name: str, most: int) -> int | None:
        """A whole number above 0."""
        expected = f"expected a whole number from 1 to {most}"
        value: int | None = self._typed(name, lambda value: type(value) is int, expected)
        if value is not None and not 1 <= value <= most:
            self.wrong(name, expected)
            return None
        return value

    def object(self, name: str) -> dict[str, Any] | None:
        """An object."""
        value: dict[str, Any] | None = self._typed(name, lambda value: isinstance(value, dict), "expected an object")
        return value

    def array(self, name: str, most: int) -> list[Any]:
        """An array; [] when there is none."""
        value = self._typed(name, lambda value: isinstance(value, list), "expected an array") or []
        if len(value) > most:
            self.wrong(name, f"expected at most {most} items")
            return []
        return list(value)

    def one_of(self, name: str, allowed: Sequence[str]) -> str | None:
        """One of some words."""
        expected = f"expected one of: {', '.join(allowed)}"
        value: str | None = self._typed(name, lambda value: isinstance(value, str) and value in allowed, expected)
        return value

    def strings(self, name: str, most: int) -> list[str]:
        """An array of strings."""
        values = self.array(name, most)
        if all(isinstance(value, str) for value in values):
            return values
        self.wrong(name, "expected an array of strings")
        return []

    def _typed(self, name: str, fits: Callable[[Any], bool], expected: str) -> Any:
        value = self.found.get(name)
        if value is None or fits(value):
            return value
        self.wrong(name, expected)
        return None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


async def read_fields(body: bytes, desk: Desk, *, may_be_empty: bool = False) -> Fields:
    """The fields of a request's body.

    Raises:
        Refusal: 422, it is not one JSON object.
    """
    if may_be_empty and not body.strip():
        return Fields({})
    try:
        return Fields(await desk.parse(body))
    except BodyError as error:
        raise _unreadable(error) from None


def _unreadable(error: BodyError) -> Invalid:
    return invalid({"body": error.message.removesuffix(".")})
