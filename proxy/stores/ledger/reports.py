"""Long reads of the ledger's file, on threads of their own: sums and exports hold up neither the event loop nor stops.

The same questions are put to a file that no proxy runs on, see `read_only`.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal, TypeVar
from urllib.parse import quote

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import OperationalError, SQLAlchemyError
from sqlalchemy.pool import QueuePool

from proxy.stores.ledger.errors import LedgerOpenError
from proxy.stores.ledger.port import LedgerUnavailableError
from proxy.stores.tables import APPLICATION_ID, SCHEMA

_THREADS: Final = 2
_SORTERS: Final = 2
_BUSY_TIMEOUT: Final = 5.0

T = TypeVar("T")


class Reports:
    """Puts questions to the ledger's file. Each is answered from one snapshot."""

    def __init__(self, path: Path) -> None:
        self._engine = _engine(path)
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="ledger-report")
        self._reading: set[asyncio.Future[Any]] = set()

    async def ask(self, question: Callable[[Connection], T]) -> T:
        """The answer to a question, which runs on another thread.

        Raises:
            LedgerUnavailableError: the file can't be read.
        """
        try:
            answer = asyncio.get_running_loop().run_in_executor(self._threads, self._answer, question)
        except RuntimeError as error:  # the threads take nothing more
            raise LedgerUnavailableError("the ledger is closed") from error
        self._reading.add(answer)
        answer.add_done_callback(self._reading.discard)
        return await answer

    async def close(self) -> None:
        """Wait for what is being read, then close the connections."""
        if self._reading:
            await asyncio.wait(set(self._reading))
        self._threads.shutdown(wait=False)
        self._engine.dispose()

    def _answer(self, question: Callable[[Connection], T]) -> T:
        try:
            try:
                return self._answer_with("FILE", question)
            except OperationalError:  # perhaps there is no room for its files, or no place for any
                return self._answer_with("MEMORY", question)
        except SQLAlchemyError as error:
            raise LedgerUnavailableError(f"the ledger can't be read: {getattr(error, 'orig', error)}") from error

    def _answer_with(self, store: Literal["FILE", "MEMORY"], question: Callable[[Connection], T]) -> T:
        """Sorting in files is what SQLite does on several threads: a million records in half the time."""
        with self._engine.connect() as connection:
            driver: Any = connection.connection.driver_connection  # the question's transaction has not begun
            driver.execute(f"PRAGMA temp_store = {store}")
            return question(connection)


@contextmanager
def read_only(path: Path) -> Iterator[Connection]:
    """A connection to a ledger's file, whether or not a proxy runs on it; nothing of it is changed.

    Raises:
        LedgerOpenError: there is no such file, it is none of ours, or another version's; or reading it failed.
    """
    if not path.is_file():
        raise LedgerOpenError(f"{path}: there is no such file")
    engine = _engine(path)
    try:
        with engine.connect() as connection:
            _refuse_others(path, connection)
            yield connection
    except SQLAlchemyError as error:
        raise LedgerOpenError(f"{path}: can't be read as a ledger: {getattr(error, 'orig', error)}") from error
    finally:
        engine.dispose()


def _refuse_others(path: Path, connection: Connection) -> None:
    if connection.exec_driver_sql("PRAGMA application_id").scalar_one() != APPLICATION_ID:
        raise LedgerOpenError(f"{path}: is a database of another program, no ledger")
    found = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    if found != SCHEMA:
        raise LedgerOpenError(
            f"{path}: has schema {found}, this version reads {SCHEMA}; an older file is brought up to date by the "
            "next start of the proxy on it"
        )


def _engine(path: Path) -> Engine:
    address = f"file:{quote(str(path))}?mode=ro"

    def connect() -> sqlite3.Connection:
        # A pooled connection is used by one thread at a time, but not always by the same one.
        return sqlite3.connect(address, uri=True, timeout=_BUSY_TIMEOUT, isolation_level=None, check_same_thread=False)

    engine = create_engine("sqlite://", creator=connect, pool_size=_THREADS, max_overflow=0, poolclass=QueuePool)
    event.listen(engine, "connect", _sorts_on_threads)
    event.listen(engine, "begin", _begin)
    return engine


def _sorts_on_threads(connection: Any, _record: object) -> None:
    connection.execute(f"PRAGMA threads = {_SORTERS}")


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")
