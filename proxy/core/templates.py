"""Templates: plain text with variables as `{{name}}`, of Dify apps and of an upstream's abort call."""

import re
from collections.abc import Mapping
from typing import Final

VARIABLE: Final = re.compile(r"\{\{\s*([A-Za-z_][A-Za-z0-9_.-]*)\s*\}\}")


def variables(text: str) -> list[str]:
    """The names of the variables, each once, in the order in which they come."""
    return list(dict.fromkeys(VARIABLE.findall(text)))


def fill(text: str, values: Mapping[str, str]) -> str:
    """The text with its variables filled in; one without a value becomes empty. What is filled in is not read again."""
    return VARIABLE.sub(lambda found: values.get(found[1], ""), text)
