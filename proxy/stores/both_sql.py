"""What SQLite and PostgreSQL say differently, as parts of one statement."""

from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Text
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from proxy.core.prices import PRICE_DIGITS

__all__ = ["output_price", "price_currency", "tag_value", "whole_part"]


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


class output_price(FunctionElement[int]):  # noqa: N801 the same
    """`output_price(price)`: what a million completion tokens cost by a frozen price, in units of its last digit."""

    name = "output_price"
    type = BigInteger()
    inherit_cache = True


class price_currency(FunctionElement[str]):  # noqa: N801 the same
    """`price_currency(price)`: the currency of a frozen price."""

    name = "price_currency"
    type = Text()
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


@compiles(output_price, "sqlite")
def _output_in_sqlite(element: FunctionElement[Any], compiler: Any, **options: Any) -> str:
    (price,) = _arguments(element, compiler, options)
    return f"CAST(round(json_extract({price}, '$.output') * {10**PRICE_DIGITS}) AS INTEGER)"


@compiles(output_price, "postgresql")
def _output_in_postgresql(element: FunctionElement[Any], compiler: Any, **options: Any) -> str:
    (price,) = _arguments(element, compiler, options)
    return f"CAST(round(CAST(CAST({price} AS JSON) ->> 'output' AS NUMERIC) * {10**PRICE_DIGITS}) AS BIGINT)"


@compiles(price_currency, "sqlite")
def _currency_in_sqlite(element: FunctionElement[Any], compiler: Any, **options: Any) -> str:
    (price,) = _arguments(element, compiler, options)
    return f"json_extract({price}, '$.currency')"


@compiles(price_currency, "postgresql")
def _currency_in_postgresql(element: FunctionElement[Any], compiler: Any, **options: Any) -> str:
    (price,) = _arguments(element, compiler, options)
    return f"(CAST({price} AS JSON) ->> 'currency')"
