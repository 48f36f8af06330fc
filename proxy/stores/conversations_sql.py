"""Of what the statements of the conversation store are made: values go by name, and each may run twice.

With the same values it then gives the same store and the same number of rows, so that a transaction whose answer was
lost can simply be written again. Who did something the first time is known by the uid or token that it left in the row.
"""

from typing import Any, Final

from sqlalchemy import (
    BindParameter,
    ClauseElement,
    ColumnElement,
    Table,
    and_,
    bindparam,
    delete,
    exists,
    func,
    literal_column,
    or_,
    select,
)
from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.sqlite import insert

from proxy.stores.tables import item, message, thread

IN_PROGRESS: Final[ColumnElement[bool]] = message.c.status == literal_column("'in_progress'")
OPEN: Final[ColumnElement[bool]] = item.c.is_open == literal_column("1")
ANY: Final[ColumnElement[bool]] = literal_column("1") == literal_column("1")

TOKEN: Final[BindParameter[str]] = bindparam("token")

_FIRST: Final[BindParameter[str]] = bindparam("first")
_LAST: Final[BindParameter[str]] = bindparam("last")


def compiled(statement: ClauseElement) -> str:
    """The statement as the writer says it."""
    return str(statement.compile(dialect=sqlite.dialect(paramstyle="named")))


def owned(table: Table) -> ColumnElement[bool]:
    """It is the thread or message that is meant. Values: the owner's, see `conversations_rows.owned`."""
    user: BindParameter[str] = bindparam("user")
    return and_(
        table.c.identity == bindparam("identity"),
        table.c.dialect == bindparam("dialect"),
        table.c.id == bindparam("id"),
        or_(user.is_(None), table.c.user == user),
    )


def has_its_thread() -> ColumnElement[bool]:
    """The thread of what is put in is there, if it names one."""
    thread_id: BindParameter[str] = bindparam("thread_id")
    there = exists().where(
        thread.c.identity == bindparam("identity"), thread.c.dialect == bindparam("dialect"), thread.c.id == thread_id
    )
    return or_(thread_id.is_(None), there)


def added(table: Table, key: list[ColumnElement[Any]], where: ColumnElement[bool], unset: str = "") -> str:
    """Put one row in. Values: those of the row. No row if `key` is taken, or `where` does not hold."""
    names = [column.name for column in table.columns if column.name not in {"number", unset}]
    values: list[ColumnElement[Any]] = [bindparam(name) for name in names]
    fresh = insert(table).from_select(names, select(*values).where(where))
    # A row of the same uid is this one, written before: it is counted again and stays as it is.
    same = table.c.uid == fresh.excluded.uid
    return compiled(fresh.on_conflict_do_update(index_elements=key, set_={"uid": fresh.excluded.uid}, where=same))


def of_one_call(uid: ColumnElement[Any]) -> ColumnElement[bool]:
    """It was put in by one call. Values: the first and the last uid."""
    return uid.between(_FIRST, _LAST)


def all_or_none(table: Table) -> str:
    """Take out what one call put in, if not all of it went in. Values: the first and last uid, how many there are."""
    went_in = select(func.count()).select_from(table).where(of_one_call(table.c.uid)).scalar_subquery()
    return compiled(delete(table).where(of_one_call(table.c.uid), bindparam("many") > went_in))
