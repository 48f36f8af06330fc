"""Reading the fields of a body: the first one that is wrong is refused by its path. `null` counts as left out."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from proxy.core.errors import Refusal
from proxy.core.partial import safe_text
from proxy.core.request_body import BodyError
from proxy.dialects.assistants.errors import invalid
from proxy.engine.translating.desk import Desk

MAX_PAIRS: Final = 16
MAX_KEY: Final = 64
MAX_VALUE: Final = 512
MAX_ID: Final = 256
MAX_INSTRUCTIONS: Final = 256_000
"""Characters, as the API documents them."""


class Fields:
    """The fields of one object. What a method gives is None when the field is left out.

    Every method raises `Refusal`, 400 with the field's path, for a field that is wrong.
    """

    def __init__(self, found: Mapping[str, Any], path: str = "") -> None:
        self.found = found
        self._path = path

    def path(self, name: str) -> str:
        """The path of a field, as in `messages[0].role`."""
        return f"{self._path}.{name}" if self._path else name

    def wrong(self, name: str, expected: str) -> Refusal:
        """What is raised for a field that should have been something else."""
        return invalid(self.path(name), expected)

    def has(self, name: str) -> bool:
        """Whether the field is there, be it null."""
        return name in self.found

    def string(self, name: str, most: int = MAX_ID) -> str | None:
        """A string of at most so many characters."""
        value = self.found.get(name)
        if value is None:
            return None
        if not isinstance(value, str):
            raise self.wrong(name, "a string")
        if len(value) > most:
            raise self.wrong(name, f"at most {most} characters")
        return safe_text(value)

    def needed(self, name: str, most: int = MAX_ID) -> str:
        """A string that must be there and not be empty."""
        value = self.string(name, most)
        if not value:
            raise self.wrong(name, "a string that is not empty")
        return value

    def flag(self, name: str) -> bool | None:
        """True or false."""
        value = self.found.get(name)
        if value is not None and not isinstance(value, bool):
            raise self.wrong(name, "true or false")
        return value

    def number(self, name: str, most: float) -> float | None:
        """A number from 0 on."""
        value = self.found.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
            raise self.wrong(name, f"a number from 0 to {most:g}")
        return value

    def whole(self, name: str, least: int) -> int | None:
        """A whole number."""
        value = self.found.get(name)
        if value is None:
            return None
        if type(value) is not int or not least <= value < 2**53:
            raise self.wrong(name, f"a whole number of at least {least}")
        return value

    def one_of(self, name: str, allowed: Sequence[str]) -> str | None:
        """One of some words."""
        value = self.found.get(name)
        if value is not None and (not isinstance(value, str) or value not in allowed):
            raise self.wrong(name, f"one of: {', '.join(allowed)}")
        return value

    def object(self, name: str) -> "Fields | None":
        """An object."""
        value = self.found.get(name)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise self.wrong(name, "an object")
        return Fields(value, self.path(name))

    def objects(self, name: str, most: int) -> "list[Fields] | None":
        """An array of objects."""
        value = self.found.get(name)
        if value is None:
            return None
        if not isinstance(value, list):
            raise self.wrong(name, "an array")
        if len(value) > most:
            raise self.wrong(name, f"at most {most} items")
        for number, each in enumerate(value):
            if not isinstance(each, dict):
                raise self.wrong(f"{name}[{number}]", "an object")
        return [Fields(each, self.path(f"{name}[{number}]")) for number, each in enumerate(value)]

    def metadata(self) -> dict[str, str] | None:
        """`metadata`: a few short pairs of strings."""
        own = self.object("metadata")
        if own is None:
            return None
        if len(own.found) > MAX_PAIRS:
            raise self.wrong("metadata", f"at most {MAX_PAIRS} pairs")
        if any(len(key) > MAX_KEY for key in own.found):
            raise self.wrong("metadata", f"keys of at most {MAX_KEY} characters")
        if any(not isinstance(value, str) or len(value) > MAX_VALUE for value in own.found.values()):
            raise self.wrong("metadata", f"values that are strings of at most {MAX_VALUE} characters")
        return {safe_text(key): safe_text(value) for key, value in own.found.items()}

    def refuse_any(self, name: str, why: str) -> None:
        """A field that can't be served: null and what is empty ask for nothing."""
        if self.found.get(name) not in (None, {}, []):
            raise self.wrong(name, f"nothing: {why}")


async def read_fields(body: bytes, desk: Desk) -> Fields:
    """The fields of a request's body; of an empty one none.

    Raises:
        Refusal: 400, it is not one JSON object.
    """
    if not body.strip():
        return Fields({})
    try:
        return Fields(await desk.parse(body))
    except BodyError as error:
        raise Refusal.bad_request(error.code, error.message, error.param) from None
