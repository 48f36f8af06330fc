"""What SQLite and PostgreSQL say differently, as parts of one statement."""

from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Text
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

__all__ = ["tag_value", "whole_part"]


class tag_value(FunctionElement[str]):  # noqa: N801 it is used as a function
    """`tag_value(tags, name)`: the value of one tag; null where there is none."""

    name = "tag_value"
    type = Text()
    inherit_cache = True


class whole_part(FunctionElement[int]):  # noqa: N801 the same
    """`whole_part(number)`: a number that is not negative, without its fraction."""

    name = "whole_part"
    type = BigInteger()
    inherit_cache = True


def _arguments(element: FunctionElement[Any], compiler: Any, options: dict[str, Any]) -> list[str]:
    clauses: list[ColumnElement[Any]] = list(element.clauses)
    return [compiler.process(clause, **options) for clause in clauses]


@compiles(tag_value, "sqlite")
def _tag_in_sqlite(element: FunctionElement[Any], compiler: Any, **options: Any) -> str:
    tags, name = _arguments(element, compiler, options)
    return f"(SELECT one.value FROM json_each({tags}) AS one WHERE one.key = {name})"  # noqa: S608 compiled parts


@compiles(tag_value, "postgresql")
def _tag_in_postgresql(element: FunctionElement[Any], compiler: Any, **options: Any) -> str:
    tags, name = _arguments(element, compiler, options)
    return f"(CAST({tags} AS JSON) ->> {name})"


@compiles(whole_part, "sqlite")
def _whole_in_sqlite(element: FunctionElement[Any], compiler: Any, **options: Any) -> str:
    (number,) = _arguments(element, compiler, options)
    return f"CAST({number} AS INTEGER)"


@compiles(whole_part, "postgresql")
def _whole_in_postgresql(element: FunctionElement[Any], compiler: Any, **options: Any) -> str:
    (number,) = _arguments(element, compiler, options)
    return f"CAST(floor({number}) AS BIGINT)"
