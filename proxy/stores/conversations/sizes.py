"""Reading messages that may be long: how many of them fit, and what can be told of them without reading all of it.

Sizes are counted inside the database, before any text is fetched; in SQLite on a reading thread and without Python's
lock.
"""

from typing import Any, Final

from sqlalchemy import BLOB, RowMapping, Select, and_, case, cast, func, literal_column
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.expression import FunctionElement
from sqlalchemy.types import BigInteger

from proxy.core.conversation import MessageStatus
from proxy.stores.conversations.port import Outline
from proxy.stores.conversations.rows import from_json, to_json
from proxy.stores.tables import message

_AT_ONCE: Final = 16
"""So many messages are measured before it is asked whether they still fit."""


class _Bytes(FunctionElement[int]):
    """How many bytes a text has."""

    type = BigInteger()
    inherit_cache = True


@compiles(_Bytes)
def _in_postgres(element: _Bytes, compiler: SQLCompiler, **how: Any) -> str:
    text = compiler.process(element.clauses, **how)  # of what is escaped, see `column_types`, two bytes are one
    return f"octet_length(replace(replace({text}, chr(16) || chr(16), ' '), chr(16) || '@', ' '))"


@compiles(_Bytes, "sqlite")
def _in_sqlite(element: _Bytes, compiler: SQLCompiler, **how: Any) -> str:
    (column,) = element.clauses
    return compiler.process(func.length(cast(column, BLOB)), **how)  # of a text it counts characters, and up to a NUL


_SIZE: Final = _Bytes(message.c.text) + _Bytes(message.c.content)


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
    """The query for what `Conversations.outline` gives of each message: of the content only one that may have a mark.

    Neither database reads each JSON that a text may be: SQLite none that is nested deep, PostgreSQL none with a NUL.
    """
    content, text = message.c.content, message.c.text
    is_nothing = and_(message.c.status == MessageStatus.FAILED.value, text == literal_column("''"))
    marked = case((content.contains(to_json(mark), autoescape=True), content), else_=literal_column("'null'"))
    return asked.with_only_columns(
        message.c.id,
        message.c.role,
        message.c.status,
        message.c.created_at,
        is_nothing.label("is_nothing"),
        marked.label("content"),
    )


def outline_of(row: RowMapping, mark: str) -> Outline:
    """The outline in a row."""
    content = from_json(row["content"])
    return Outline(
        id=row["id"],
        role=row["role"],
        status=MessageStatus(row["status"]),
        created_at=row["created_at"],
        is_nothing=bool(row["is_nothing"]),
        mark=content.get(mark) if isinstance(content, dict) else None,
    )
