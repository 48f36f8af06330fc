"""The schema of the ledger: made, or brought up to this program's."""

from pathlib import Path
from typing import Final

from sqlalchemy import Connection, inspect

from proxy.stores.ledger.errors import LedgerOpenError
from proxy.stores.tables import APPLICATION_ID, SCHEMA

_MIGRATIONS: Final = Path(__file__).parent.with_name("migrations")


class UnknownSchemaError(Exception):
    """The database has a schema that this program does not know."""


def migrate(path: Path, connection: Connection) -> None:
    """Bring the tables of a file up to this program's schema, in the caller's transaction; an empty one gets them all.

    Raises:
        LedgerOpenError: a newer version wrote the file.
    """
    found = None
    if inspect(connection).has_table("alembic_version"):
        found = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    if found == SCHEMA:
        return
    try:
        run_migrations(connection, "alembic_version")
    except UnknownSchemaError as error:
        raise LedgerOpenError(
            f"{path}: has schema {found}, this program knows those up to {SCHEMA}: a newer version wrote it. "
            "Nothing was changed. Start that version, or let ledger.url name another file",
        ) from error
    connection.exec_driver_sql(f"PRAGMA application_id = {APPLICATION_ID}")


def run_migrations(connection: Connection, version_table: str) -> None:
    """Apply the steps that are missing, in the caller's transaction; `version_table` holds which are there.

    Raises:
        UnknownSchemaError: there is one that this program does not know.
    """
    # Imported here because it takes longer than all the rest of a start, and a start seldom needs it.
    from alembic import command  # noqa: PLC0415  see above
    from alembic.config import Config  # noqa: PLC0415  see above
    from alembic.util import CommandError  # noqa: PLC0415  see above

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.attributes.update(connection=connection, version_table=version_table)
    try:
        command.upgrade(config, SCHEMA)
    except CommandError as error:
        raise UnknownSchemaError(str(error)) from error
