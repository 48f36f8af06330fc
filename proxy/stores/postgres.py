"""Connections to PostgreSQL: few, each wait with its end, and nothing that outlasts a transaction.

A pooler in transaction mode may stand between: each transaction may run on another server connection. So no statement
is prepared under a name, no setting is made for a session, and locks are those of rows or of a transaction
(`pg_advisory_xact_lock`). asyncpg is used through SQLAlchemy, so that one statement serves both databases; what
SQLAlchemy adds, some 30 µs a statement, is little beside a trip to the server.

    postgres = Postgres(parse_ledger_address(url))
    await postgres.prepare()                                # tables made or migrated, by one of many replicas
    async with postgres.reading() as connection: ...        # an AsyncConnection of SQLAlchemy, on one snapshot
    async with postgres.writing() as connection: ...        # one transaction, committed at the end
    await postgres.close()

Needs the extra `distributed`.
"""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import asyncpg
from sqlalchemy import func, select
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from proxy.core.ledger_address import LedgerAddress
from proxy.stores.ledger.errors import LedgerOpenError
from proxy.stores.ledger.port import LedgerUnavailableError
from proxy.stores.postgres_schema import is_current, upgrade

CONNECT_SECONDS: Final = 5.0
"""How long opening a connection may take, and waiting for one of the pool."""

ANSWER_SECONDS: Final = 10.0
"""How long a transaction may take, from the wait for a connection to the answer to its commit."""

GOODBYE_SECONDS: Final = 1.0
"""How long a connection that nobody uses may take to end; a network that lost it never says so."""

MIGRATE_SECONDS: Final = 120.0
"""How long bringing the tables up to date may take, or waiting for another replica that does it."""

PAUSE_SECONDS: Final = 1.0
"""After a failed connection nobody tries another for so long: reads then fail at once instead of one by one."""

_LOCK_SHARE: Final = 0.5
"""Of its time, a transaction may wait so much for one lock."""

UNREACHED: Final = (SQLAlchemyError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError)
"""What a transaction raises that did not come to its end."""

_HINTS: Final[tuple[tuple[type[BaseException], str], ...]] = (
    (asyncpg.InvalidCatalogNameError, "create an empty database of that name; its tables are made by themselves"),
    (asyncpg.InvalidAuthorizationSpecificationError, "mend the user and the password in ledger.url, or pg_hba.conf"),
    (asyncpg.InsufficientPrivilegeError, "make the user in ledger.url the owner of the database"),
)
"""What somebody must do: waiting does not help."""

_FORGETFUL: Final[dict[str, Any]] = {"prepared_statement_cache_size": 0}
"""SQLAlchemy keeps no statement; asyncpg, which keeps none either, gives them no names then."""


class StillDownError(ConnectionError):
    """A connection failed a moment ago: `hint` is what somebody must do about that, see `hint`."""

    def __init__(self, why: str, hint: str) -> None:
        super().__init__(why)
        self.hint = hint


class _Connection(asyncpg.Connection):  # type: ignore[misc] # asyncpg has no types
    """A connection that ends at once where its goodbye may not be heard."""

    async def close(self, *, timeout: float | None = None) -> None:  # noqa: ASYNC109 asyncpg names it so
        """Close it. SQLAlchemy sets a timeout only if it broke, or a wait for it was given up: then nothing is said.

        That goodbye would be waited for beyond the deadline of the transaction.
        """
        if timeout is not None:
            self.terminate()
            return
        with contextlib.suppress(TimeoutError):  # it is terminated then
            await super().close(timeout=GOODBYE_SECONDS)


class Postgres:
    """A bounded pool of connections to one database.

    Args:
        address: where it is.
        size: how many connections there may be; who finds none free waits, and fails after `CONNECT_SECONDS`.
        answer: seconds that a transaction may take.
        name: what administrators see in `pg_stat_activity`.
    """

    def __init__(
        self, address: LedgerAddress, *, size: int = 4, answer: float = ANSWER_SECONDS, name: str = "quell"
    ) -> None:
        self.place: Final = address.place
        self._address = address
        self._answer = answer
        self._name = name
        self._tls: ssl.SSLContext | str | bool | None = None
        self._prepared = False
        self._preparing = asyncio.Lock()
        self._closed = False
        self._down_until = 0.0
        self._down_why = self._down_hint = ""
        self._engine = create_async_engine(
            "postgresql+asyncpg://",
            async_creator=self._connect,
            pool_size=size,
            max_overflow=0,
            pool_timeout=CONNECT_SECONDS,
            pool_pre_ping=True,  # a server that was restarted left dead connections behind
            pool_recycle=300,  # a name may mean another server by then
            pool_use_lifo=True,
            connect_args=_FORGETFUL,
            hide_parameters=True,  # texts of callers
        )

    async def prepare(self) -> None:
        """Make the tables, or bring them up to this program's schema. Of many replicas one does it, the others wait.

        Done once; whoever reads or writes does it too, so that it need not succeed at the start.

        Raises:
            LedgerOpenError: a newer version wrote them, another program has tables of these names, or a file of TLS
                can't be read.
            LedgerUnavailableError: PostgreSQL can't be reached.
        """
        async with self._preparing:
            if self._prepared:
                return
            async with self._transaction(self._answer) as connection:
                current = await connection.run_sync(is_current, self.place)
            if not current:
                async with self._transaction(MIGRATE_SECONDS) as connection:
                    await connection.run_sync(upgrade, self.place)
            self._prepared = True

    @asynccontextmanager
    async def reading(self, seconds: float | None = None) -> AsyncIterator[AsyncConnection]:
        """A connection on one snapshot, for at most `seconds`.

        Raises:
            LedgerUnavailableError: PostgreSQL can't be reached, takes too long, or is not for this program.
        """
        await self._made_ready()
        async with self._transaction(seconds or self._answer, only_reads=True) as connection:
            yield connection

    @asynccontextmanager
    async def writing(self, seconds: float | None = None) -> AsyncIterator[AsyncConnection]:
        """One transaction, committed at the end of the block and rolled back where that raises.

        After `LedgerUnavailableError` nobody knows whether it was committed: what is written must bear a repetition.

        Raises:
            LedgerUnavailableError: PostgreSQL can't be reached, takes too long, or is not for this program.
        """
        await self._made_ready()
        async with self._transaction(seconds or self._answer) as connection:
            yield connection

    async def _made_ready(self) -> None:
        if self._prepared:
            return
        try:
            await self.prepare()
        except LedgerOpenError as error:  # it was away at the start, which would have been refused
            raise LedgerUnavailableError(str(error)) from error

    async def close(self) -> None:
        """Close the connections that nobody uses; the others end with their transactions. No other begins."""
        self._closed = True
        await self._engine.dispose()

    @asynccontextmanager
    async def _transaction(self, seconds: float, *, only_reads: bool = False) -> AsyncIterator[AsyncConnection]:
        if self._closed:
            raise LedgerUnavailableError(f"the connections to PostgreSQL at {self.place} are closed")
        try:
            async with asyncio.timeout(seconds), self._connected() as connection:
                if only_reads:
                    await connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
                async with connection.begin():
                    await connection.execute(_bounds(seconds))
                    yield connection
        except UNREACHED as error:
            raise LedgerUnavailableError(f"PostgreSQL at {self.place}: {reason(error)}", hint=hint(error)) from error

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[AsyncConnection]:
        async with self._engine.connect() as connection:
            try:
                yield connection
            finally:
                if self._closed:  # the pool that it would go back to is forgotten
                    await connection.invalidate()

    async def _connect(self, **options: Any) -> Any:
        loop = asyncio.get_running_loop()
        if loop.time() < self._down_until:
            raise StillDownError(self._down_why, self._down_hint)
        if self._tls is None:
            self._tls = await asyncio.to_thread(_tls, self._address)
        hosts, ports = zip(*self._address.hosts, strict=True)
        try:
            return await asyncpg.connect(
                host=list(hosts),
                port=list(ports),
                user=self._address.username,
                password=self._address.password,
                database=self._address.database,
                ssl=self._tls,
                timeout=CONNECT_SECONDS,
                statement_cache_size=0,
                connection_class=_Connection,
                target_session_attrs="read-write" if len(hosts) > 1 else "any",
                server_settings={"application_name": self._name},
                **options,
            )
        except UNREACHED as error:
            self._down_why, self._down_hint = reason(error), hint(error)
            self._down_until = loop.time() + PAUSE_SECONDS
            raise


def reason(error: BaseException) -> str:
    """Why something failed, in a line without anybody's values."""
    if isinstance(error, DBAPIError) and error.orig is not None:
        error = error.orig.__cause__ or error.orig
    if isinstance(error, TimeoutError):
        return "no answer in time"
    text = str(error).partition("\n")[0]
    return text or type(error).__name__


def hint(error: BaseException) -> str:
    """What somebody must do about it; empty: it may pass by itself."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, StillDownError):
            return cause.hint
        for kind, what in _HINTS:
            if isinstance(cause, kind):
                return what
        cause = cause.__cause__
    return ""


def _bounds(seconds: float) -> Any:
    """Let the server give up too, within this transaction: a client that is gone holds no lock for long."""
    whole, lock = str(round(seconds * 1000)), str(round(seconds * 1000 * _LOCK_SHARE))
    return select(
        func.set_config("statement_timeout", whole, True),
        func.set_config("lock_timeout", lock, True),
        func.set_config("idle_in_transaction_session_timeout", whole, True),
    )


def _tls(address: LedgerAddress) -> ssl.SSLContext | str | bool:
    if address.sslmode == "disable":
        return False
    if address.sslmode == "prefer":
        return "prefer"
    try:
        context = ssl.create_default_context(cafile=address.sslrootcert)
        if address.sslcert is not None:
            context.load_cert_chain(address.sslcert, address.sslkey)
    except OSError as error:  # ssl.SSLError is one
        named = " or ".join(filter(None, (address.sslrootcert, address.sslcert, address.sslkey)))
        raise LedgerOpenError(
            f"ledger.url: {named or 'the authorities that the system trusts'} can't be read as certificates and key in "
            f"PEM form ({error.strerror or type(error).__name__})"
        ) from error
    context.check_hostname = address.sslmode == "verify-full"
    if address.sslmode == "require" and address.sslrootcert is None:
        context.verify_mode = ssl.CERT_NONE
    return context
