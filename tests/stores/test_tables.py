import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine

from proxy.core.record import Record
from proxy.stores import migrations
from proxy.stores.conversations import deletions as conversations_deletions
from proxy.stores.conversations import items_statements
from proxy.stores.conversations import statements as conversations_statements
from proxy.stores.conversations.sql import Statement
from proxy.stores.ledger.rows import row_of
from proxy.stores.tables import SCHEMA, generation, metadata
from support.ledgers import a_ledger
from support.records import a_record

WHOSE = "identity = 'x' AND dialect = 'y'"


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    """A ledger with one running record."""
    async with a_ledger(tmp_path / "q.db") as ledger:
        await ledger.begin(a_record())
    return tmp_path / "q.db"


def plans(path: Path, statements: list[tuple[str, tuple[Any, ...]]]) -> Iterator[str]:
    """How SQLite would run them."""
    with closing(sqlite3.connect(path)) as connection:
        for statement, values in statements:
            for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", values):
                yield row[3]


def test_the_newest_migration_is_the_schema_of_this_program() -> None:
    """A new step that nobody wrote into SCHEMA would make every start refuse the file."""
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    assert ScriptDirectory.from_config(config).get_heads() == [SCHEMA]


def test_migrations_make_what_the_tables_say(path: Path) -> None:
    """A migrated file has exactly the tables, columns and indexes of `tables.py`."""
    engine = create_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
    engine.dispose()


def test_indexes_are_of_the_same_rows(path: Path) -> None:
    """Also the part of a table that an index is of is the same in the migrations and in `tables.py`."""
    engine = create_engine("sqlite://")
    asked = "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
    with engine.connect() as connection, closing(sqlite3.connect(path)) as migrated:
        metadata.create_all(connection)
        made = connection.exec_driver_sql(asked).all()
        assert {tuple(row) for row in made} == set(migrated.execute(asked).fetchall())
    engine.dispose()


def test_every_field_of_a_record_has_its_column() -> None:
    """Columns are the record's fields, and a row has a value for each, in their order."""
    names = [column.name for column in generation.columns]
    assert set(names) == set(Record.__slots__)
    row = row_of(a_record(user="ann"), "text")
    assert len(row) == len(names)
    assert row[names.index("user")] == "ann"
    assert row[names.index("text")] == "text"


def test_conversations_are_looked_up_by_index(path: Path) -> None:
    """No statement of the writer's scans a table, and no list is sorted after it was read."""
    statements: list[str] = []
    for module in (conversations_statements, conversations_deletions, items_statements):
        for value in vars(module).values():
            several = value if isinstance(value, tuple) else (value,)
            statements += [each.sqlite for each in several if isinstance(each, Statement)]
    said = [each for each in statements if each.split(" ", 1)[0] in {"INSERT", "UPDATE", "DELETE"}]
    assert len(said) > 25
    lists = [
        f"SELECT {what}"
        for what in (
            f"* FROM thread WHERE {WHOSE} AND (updated_at, number) < (1, 2) ORDER BY updated_at DESC, number DESC",
            f"* FROM thread WHERE {WHOSE} AND user = 'z' ORDER BY updated_at DESC, number DESC",
            f"* FROM message WHERE {WHOSE} AND thread_id = 't' AND number > 2 ORDER BY number",
            f"* FROM message WHERE {WHOSE} AND id = 'm'",
            "uid FROM message WHERE status = 'in_progress'",
            f"* FROM item WHERE {WHOSE} AND kind = 'k' AND id = 'i'",
            f"* FROM item WHERE {WHOSE} AND kind = 'k' AND parent = 'p' AND number > 2 ORDER BY number",
            f"* FROM item WHERE {WHOSE} AND kind = 'k' AND parent IS NULL AND number < 2 ORDER BY number DESC",
            "piece FROM message_text WHERE message = 'u' ORDER BY offset",
        )
    ]
    said += [*lists, "UPDATE item SET is_open = 0, is_interrupted = 1 WHERE is_open = 1"]
    with closing(sqlite3.connect(path)) as connection:
        for statement in said:
            names = dict.fromkeys(re.findall(r":(\w+)", statement), "1")
            plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", names)]
            scans = [line for line in plan if line.startswith("SCAN") and "CONSTANT ROW" not in line]
            # What is in progress or open is read as a whole, by its own small index.
            unmeant = [line for line in scans if not re.search("message_in_progress|item_open", line)]
            assert unmeant == [], (statement, plan)
            assert not (statement in lists and any("TEMP B-TREE" in line for line in plan)), (statement, plan)


def test_lookups_use_an_index(path: Path) -> None:
    """Finding, listing, recovering and purging never scan the table."""
    where = [
        ("SELECT * FROM generation WHERE task_id = ? ORDER BY started_at DESC LIMIT 1", ("x",)),
        ("SELECT * FROM generation WHERE message_id = ? AND identity = ?", ("x", "y")),
        ("SELECT * FROM generation WHERE upstream_id = ? AND identity = ?", ("x", "y")),
        ("SELECT * FROM generation WHERE identity = ? ORDER BY started_at DESC, uid DESC LIMIT 9", ("x",)),
        ("SELECT * FROM generation WHERE (started_at, uid) < (?, ?) ORDER BY started_at DESC, uid DESC", (1.0, "x")),
        ("SELECT uid FROM generation WHERE outcome = 'running'", ()),
        ("SELECT uid FROM generation WHERE outcome = 'interrupted' ORDER BY uid", ()),
        ("SELECT uid FROM generation WHERE text IS NOT NULL AND ended_at < ?", (1.0,)),
        ("SELECT uid FROM generation WHERE ended_at IS NOT NULL AND ended_at < ?", (1.0,)),
    ]
    assert [plan for plan in plans(path, where) if "SCAN generation" in plan and "INDEX" not in plan] == []
