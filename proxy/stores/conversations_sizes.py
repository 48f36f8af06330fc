"""Reading messages that may be long: how many of them fit, and what can be told of them without reading all of it.

Sizes are counted inside SQLite, on a reading thread and without Python's lock, before any text is fetched.
"""

from typing import Any, Final

from sqlalchemy import BLOB, ColumnElement, RowMapping, Select, and_, case, cast, func, literal_column
from sqlalchemy.ext.asyncio import AsyncConnection

from proxy.core.conversation import MessageStatus
from proxy.stores.conversations import Outline
from proxy.stores.conversations_rows import from_json
from proxy.stores.tables import message

_AT_ONCE: Final = 16
"""So many messages are measured before it is asked whether they still fit."""


def _bytes(column: ColumnElement[str]) -> ColumnElement[int]:
    return func.length(cast(column, BLOB))  # of a text it counts characters, and only up to a NUL


_SIZE: Final = _bytes(message.c.text) + _bytes(message.c.content)


async def fitting(connection: AsyncConnection, asked: Select[Any], most_bytes: int) -> int:
    """How many of the messages, in their order, are in `most_bytes` together; 1 when the first one alone is longer."""
    used = fits = 0
    async with connection.stream(asked.with_only_columns(_SIZE).execution_options(yield_per=_AT_ONCE)) as sizes:
        async for (size,) in sizes:
            used += size
            if fits and used > most_bytes:
                break
            fits += 1
    return fits


def outlines(asked: Select[Any], mark: str) -> Select[Any]:
    """The query for what `Conversations.outline` gives of each message."""
    content, text = message.c.content, message.c.text
    is_nothing = and_(message.c.status == MessageStatus.FAILED.value, text == literal_column("''"))
    found = func.json_quote(func.json_extract(content, f'$."{mark}"'))
    # What SQLite's reader of JSON refuses, because it is nested too deep, must not fail the whole list.
    marked = case((func.json_valid(content) == literal_column("1"), found), else_=literal_column("'null'"))
    return asked.with_only_columns(
        message.c.id,
        message.c.role,
        message.c.status,
        message.c.created_at,
        is_nothing.label("is_nothing"),
        marked.label("mark"),
    )


def outline_of(row: RowMapping) -> Outline:
    """The outline in a row."""
    return Outline(
        id=row["id"],
        role=row["role"],
        status=MessageStatus(row["status"]),
        created_at=row["created_at"],
        is_nothing=bool(row["is_nothing"]),
        mark=from_json(row["mark"]),
    )
