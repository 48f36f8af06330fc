"""Which table a row is of that was found on a page by itself: by its shape, and by what it says."""

from collections.abc import Iterable
from typing import Any, Final

from sqlalchemy import Column, Integer, Table

from proxy.stores.ledger.rows import record_of
from proxy.stores.ledger.sqlite_pages import Value
from proxy.stores.tables import generation, generation_text, message_text, metadata

Row = tuple[Value, ...]

KEPT: Final = tuple(table for table in metadata.sorted_tables if table.name != "deletion")
"""What is saved. The notes of deletions mean nothing to the next process."""

PIECES: Final = frozenset({generation_text.name, message_text.name})
"""Two tables of one shape; the owners of their rows tell them apart."""

_TYPES: Final[dict[type, tuple[type, ...]]] = {str: (str,), int: (int,), float: (float, int)}


def fitting(row_id: int, row: Row) -> tuple[Table, Row] | None:
    """The table whose row this can be, with what is stored as the row id put in its place; None if it is of none.

    Of the tables of pieces it gives the first one.
    """
    for table in KEPT:
        columns = list(table.columns)
        if len(columns) != len(row):
            continue
        values = tuple(
            row_id if _is_row_id(column) and value is None else value
            for column, value in zip(columns, row, strict=True)
        )
        if all(map(_fits, columns, values)) and (table is not generation or _is_record(values)):
            return table, values
    return None


def _is_row_id(column: Column[Any]) -> bool:
    return column.primary_key and isinstance(column.type, Integer) and len(column.table.primary_key.columns) == 1


def _fits(column: Column[Any], value: Value) -> bool:
    if value is None:
        return bool(column.nullable)
    return type(value) in _TYPES[column.type.python_type]


def _is_record(values: Iterable[Value]) -> bool:
    try:
        record_of(tuple(values))
    except (ValueError, TypeError, ArithmeticError):
        return False
    return True
