"""The types of columns, as both databases need them: one declaration, the same values and the same order of them.

SQLite's INTEGER has 64 bits, and is its row number where it is a primary key; PostgreSQL's has 32. SQLite compares
texts byte by byte; PostgreSQL does so only in its collation "C".
"""

from typing import Any, Final

from sqlalchemy import BigInteger, Integer, Text, text
from sqlalchemy.types import TypeEngine

WHOLE: Final[TypeEngine[int]] = BigInteger().with_variant(Integer(), "sqlite")
"""A whole number of 64 bits."""

TEXT: Final[TypeEngine[str]] = Text().with_variant(Text(collation="C"), "postgresql")
"""A text of any length, in the order of its bytes."""


def where(condition: str) -> dict[str, Any]:
    """The arguments of an index that is only of the rows with this condition."""
    return {"sqlite_where": text(condition), "postgresql_where": text(condition)}
