"""The schema of the shared ledger: the tables of `tables.py` in PostgreSQL, made by the same migrations.

They stand where the connection's user creates tables by default: in a database of its own, or in a schema that
`ALTER ROLE … SET search_path` names.
"""

from typing import Final

from sqlalchemy import Connection, func, inspect, select

from proxy.stores.ledger.errors import LedgerOpenError
from proxy.stores.ledger.schema import UnknownSchemaError, run_migrations
from proxy.stores.tables import SCHEMA, metadata

VERSION_TABLE: Final = "quell_schema"
"""A name of our own: in `alembic_version` another program may keep its own."""

MIGRATION_LOCK: Final = 0x5175656C6C01
"""The advisory lock of whoever migrates; it ends with the transaction."""


def is_current(connection: Connection, place: str) -> bool:
    """Whether the tables are those of this program.

    Raises:
        LedgerOpenError: another program has tables of these names.
    """
    return _found(connection, place) == SCHEMA


def upgrade(connection: Connection, place: str) -> None:
    """Bring the tables up to this program's schema, in the caller's transaction. Waits for a replica that does it.

    Raises:
        LedgerOpenError: a newer version wrote them, or another program has tables of these names.
    """
    connection.execute(select(func.pg_advisory_xact_lock(MIGRATION_LOCK)))
    found = _found(connection, place)
    if found == SCHEMA:
        return
    try:
        run_migrations(connection, VERSION_TABLE)
    except UnknownSchemaError as error:
        raise LedgerOpenError(
            f"PostgreSQL at {place}: has schema {found}, this program knows those up to {SCHEMA}: a newer version "
            "wrote it. Nothing was changed. Start that version, or let ledger.url name another database"
        ) from error


def _found(connection: Connection, place: str) -> str | None:
    tables = set(inspect(connection).get_table_names())
    if VERSION_TABLE in tables:
        found: str | None = connection.exec_driver_sql(f"SELECT version_num FROM {VERSION_TABLE}").scalar()  # noqa: S608 a name of our own
        return found
    if taken := sorted(tables & metadata.tables.keys()):
        raise LedgerOpenError(
            f"PostgreSQL at {place}: another program has a table {taken[0]} there. Nothing was changed. Let ledger.url "
            "name a database of its own"
        )
    return None
