"""Reading the query of a GET. Source: OpenAI's API reference."""

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qsl

from proxy.dialects.responses.fields import wrong

_NUMBER: Final = re.compile(r"\d{1,15}")


def read_query(query: str) -> Mapping[str, str]:
    """The parameters; of one that is there twice the last."""
    return dict(parse_qsl(query, keep_blank_values=True))


def flag(found: Mapping[str, str], name: str) -> bool:
    """True or false; false when it is not there."""
    value = found.get(name, "false").lower()
    if value not in ("true", "false"):
        raise wrong(name, "true or false", "invalid_type")
    return value == "true"


def whole(found: Mapping[str, str], name: str, least: int, most: int | None = None) -> int | None:
    """A whole number; None when it is not there."""
    value = found.get(name)
    if value is None:
        return None
    expected = f"a whole number, at least {least}" if most is None else f"a whole number from {least} to {most}"
    if not _NUMBER.fullmatch(value) or int(value) < least or (most is not None and int(value) > most):
        raise wrong(name, expected)
    return int(value)
