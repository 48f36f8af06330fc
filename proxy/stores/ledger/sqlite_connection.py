"""The connection that writes to the ledger's file: what SQLite promises on it."""

from pathlib import Path
from typing import Final

import aiosqlite

_BUSY_TIMEOUT: Final = 1.0
"""Seconds a transaction waits for another program's lock before it is given up and tried again."""

_PRAGMAS: Final = (
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",  # what belongs to a record goes with it
    "PRAGMA secure_delete = ON",  # a wiped text leaves the file, also the pages that it alone had taken up
    "PRAGMA temp_store = MEMORY",
    "PRAGMA journal_size_limit = 67108864",
)


async def connect_to_write(path: Path) -> aiosqlite.Connection:
    """Open it.

    Raises:
        sqlite3.Error: it can't be opened.
    """
    connection = await aiosqlite.connect(path, timeout=_BUSY_TIMEOUT, isolation_level=None)
    for pragma in _PRAGMAS:
        await connection.execute(pragma)
    return connection
