"""The types of columns, as both databases need them: one declaration, the same values and the same order of them.

SQLite's INTEGER has 64 bits, and is its row number where it is a primary key; PostgreSQL's has 32. SQLite compares
texts byte by byte; PostgreSQL does so only in its collation "C", and takes no NUL in a text.
"""

import re
from typing import Any, Final

from sqlalchemy import BigInteger, Dialect, Integer, Text, text
from sqlalchemy.types import TypeDecorator, TypeEngine

_ESCAPE: Final = "\x10"
_NUL: Final = "@"
"""What stands for a NUL behind the escape; behind it an escape stands for itself."""

_ESCAPED: Final = re.compile(f"{_ESCAPE}(.)", re.DOTALL)


def escaped(value: str) -> str:
    """A text as PostgreSQL has it, for statements that are told texts otherwise than by these types."""
    if not ("\0" in value or _ESCAPE in value):
        return value
    return value.replace(_ESCAPE, _ESCAPE * 2).replace("\0", _ESCAPE + _NUL)


class _AnyText(TypeDecorator[str]):
    """A text that may have NULs, which are escaped: what was put in comes out, and equal texts stay equal."""

    impl = Text
    cache_ok = True
    render_bind_cast = True  # PostgreSQL would ask what type a value is of

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002 SQLAlchemy's
        """As PostgreSQL has it."""
        return None if value is None else escaped(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002 SQLAlchemy's
        """As it was."""
        if value is None or _ESCAPE not in value:
            return value
        return _ESCAPED.sub(lambda found: "\0" if found[1] == _NUL else found[1], value)


WHOLE: Final[TypeEngine[int]] = BigInteger().with_variant(Integer(), "sqlite")
"""A whole number of 64 bits."""

TEXT: Final[TypeEngine[str]] = Text().with_variant(_AnyText(collation="C"), "postgresql")
"""A text of any length, in the order of its bytes."""

VALUE: Final[TypeEngine[str]] = Text().with_variant(_AnyText(), "postgresql")
"""A text that a statement is told: it is compared as the columns are, and PostgreSQL takes no order at BETWEEN."""


def where(condition: str) -> dict[str, Any]:
    """The arguments of an index that is only of the rows with this condition."""
    return {"sqlite_where": text(condition), "postgresql_where": text(condition)}
