"""Of what the statements of the conversation store are made: values go by name, and each may run twice.

With the same values it then gives the same store and the same number of rows, so that a transaction whose answer was
lost can simply be written again. Who did something the first time is known by the uid or token that it left in the row.

One statement serves both databases. SQLite has one writer; in PostgreSQL several transactions write at one time, so
what a statement has looked at stays locked until its transaction ends, threads before messages before items.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Table,
    TextClause,
    and_,
    bindparam,
    delete,
    func,
    literal_column,
    or_,
    select,
)
from sqlalchemy import text as sqlalchemy_text
from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.dialects.postgresql.base import PGDialect
from sqlalchemy.engine.interfaces import BindTyping
from sqlalchemy.sql.expression import UpdateBase
from sqlalchemy.types import TypeEngine

from proxy.stores.column_types import VALUE, WHOLE
from proxy.stores.ledger.gather import Value
from proxy.stores.tables import item, message, thread

IN_PROGRESS: Final[ColumnElement[bool]] = message.c.status == literal_column("'in_progress'")
OPEN: Final[ColumnElement[bool]] = item.c.is_open == literal_column("1")
PRESUMED: Final[ColumnElement[str]] = literal_column("'presumed'")
"""Who ended a message whose owner was not heard of. That owner knows better, should it come back."""

ANY: Final[ColumnElement[bool]] = literal_column("1") == literal_column("1")


class _Plain(PGDialect):
    """PostgreSQL without a driver: values are named, and nothing is said of their types."""

    bind_typing = BindTyping.NONE
    supports_statement_cache = True


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement: as SQLite's writer says it, and as PostgreSQL is told."""

    sqlite: str
    postgres: TextClause


Act: TypeAlias = tuple[Statement, Mapping[str, Value]]
"""A statement with its values."""


def text(name: str) -> BindParameter[str]:
    """A value that is a text, or null."""
    return bindparam(name, type_=VALUE)


def valued(column: ColumnElement[Any], name: str | None = None) -> BindParameter[Any]:
    """A value of a column's type, by the column's name or another one."""
    kind: TypeEngine[Any] = column.type
    return bindparam(name or column.key, type_=kind)


TOKEN: Final[BindParameter[str]] = text("token")

_FIRST: Final[BindParameter[str]] = text("first")
_LAST: Final[BindParameter[str]] = text("last")


def compiled(clause: UpdateBase) -> Statement:
    """The statement, ready for both databases."""
    return Statement(str(clause.compile(dialect=sqlite.dialect(paramstyle="named"))), for_postgres(clause))


def for_postgres(clause: UpdateBase) -> TextClause:
    """The statement as PostgreSQL is told: as it stands, because SQLAlchemy would take values for those of columns."""
    said = clause.compile(dialect=_Plain(paramstyle="named"))  # type: ignore[no-untyped-call]  # SQLAlchemy's
    values = [bindparam(name, value.value, value.type) for value, name in said.bind_names.items()]
    return sqlalchemy_text(str(said)).bindparams(*values)


def owned(table: Table) -> ColumnElement[bool]:
    """It is the thread or message that is meant. Values: the owner's, see `rows.owned`."""
    user = text("user")
    return and_(
        table.c.identity == text("identity"),
        table.c.dialect == text("dialect"),
        table.c.id == text("id"),
        or_(user.is_(None), table.c.user == user),
    )


def has_its_thread() -> ColumnElement[bool]:
    """The thread of what is put in is there, if it names one, and stays there until the transaction ends."""
    thread_id = text("thread_id")
    there = select(thread.c.number).where(
        thread.c.identity == text("identity"), thread.c.dialect == text("dialect"), thread.c.id == thread_id
    )
    return or_(thread_id.is_(None), there.with_for_update(read=True).exists())


def added(table: Table, key: list[ColumnElement[Any]], where: ColumnElement[bool], unset: str = "") -> Statement:
    """Put one row in. Values: those of the row. No row if `key` is taken, or `where` does not hold."""
    columns = [column for column in table.columns if column.name not in {"number", unset}]
    fresh = insert(table).from_select(columns, select(*map(valued, columns)).where(where))
    # A row of the same uid is this one, written before: it is counted again and stays as it is.
    same = table.c.uid == fresh.excluded.uid
    return compiled(fresh.on_conflict_do_update(index_elements=key, set_={"uid": fresh.excluded.uid}, where=same))


def of_one_call(uid: ColumnElement[Any]) -> ColumnElement[bool]:
    """It was put in by one call. Values: the first and the last uid."""
    return uid.between(_FIRST, _LAST)


def all_or_none(table: Table) -> Statement:
    """Take out what one call put in, if not all of it went in. Values: the first and last uid, how many there are."""
    went_in = select(func.count()).select_from(table).where(of_one_call(table.c.uid)).scalar_subquery()
    return compiled(delete(table).where(of_one_call(table.c.uid), bindparam("many", type_=WHOLE) > went_in))
