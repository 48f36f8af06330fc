"""Filling in `${NAME}`, `${NAME:-default}`, `${NAME:?message}` and `$$`, in text that was already parsed."""

import re
from collections.abc import Mapping

_PIECE = re.compile(r"\$(?:(\$)|\{([A-Za-z_][A-Za-z0-9_]*)(?::([-?])([^}]*))?\})?")
_SHORTEST_HIDDEN = 6
"""Shorter values are words and numbers that messages are made of, and no secrets."""
_LOOKS_SECRET = re.compile(r"\b(sk-|gsk_|xai-|hf_|AIza)[A-Za-z0-9_-]{8,}")


class Interpolator:
    """Fills in variables, and keeps their values out of every message."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._used: dict[str, str] = {}

    def fill(self, text: str) -> str:
        """The text with its variables' values.

        Raises:
            ValueError: a variable is not set and has no default, or a `$` starts nothing known.
        """
        return _PIECE.sub(self._piece, text) if "$" in text else text

    def hide(self, message: str) -> str:
        """The message with any value that was filled in replaced by its variable's name, and without literal keys."""
        for value in sorted(self._used, key=len, reverse=True):
            message = message.replace(value, f"${{{self._used[value]}}}")
        return _LOOKS_SECRET.sub(r"\1…", message)

    def _piece(self, match: re.Match[str]) -> str:
        dollar, name, mark, rest = match.groups()
        if dollar:
            return "$"
        if name is None:
            raise ValueError("a single $ starts a variable: write ${NAME}, ${NAME:-default}, or $$ for a dollar sign")
        value = self._environ.get(name)
        if value or (value is not None and mark is None):
            if len(value) >= _SHORTEST_HIDDEN:
                self._used[value] = name
            return value
        if rest and "${" in rest:
            raise ValueError(f"the default of {name} has a variable in it; only plain text is read there")
        if mark == "-":
            return str(rest)
        if mark == "?":
            raise ValueError(
                f"the variable {name} is {'empty' if value == '' else 'not set'}: {rest or 'it is needed'}"
            )
        raise ValueError(f"the variable {name} is not set; set it, or give a default: ${{{name}:-…}}")


class Verbatim(Interpolator):
    """Leaves text as it stands, for a file whose content is known by its hash."""

    def __init__(self) -> None:
        super().__init__({})

    def fill(self, text: str) -> str:
        """The same text."""
        return text
