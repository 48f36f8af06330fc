import asyncio
import gc
import time
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, func, select

from proxy.stores import postgres_schema
from proxy.stores.ledger.errors import LedgerOpenError
from proxy.stores.ledger.port import LedgerUnavailableError
from proxy.stores.ledger.schema import run_migrations
from proxy.stores.tables import SCHEMA, metadata, spool
from support.postgres import PASSWORD, Database, a_pool, pgbouncer
from support.redis_server import free_port
from support.tcp_link import tcp_link
from support.tls import make_certificate
from support.wait import eventually


async def test_migrations_make_what_the_tables_say(database: Database) -> None:
    """A database that a start has prepared has exactly the tables, columns and indexes of `tables.py`."""

    def differences(connection: Connection) -> list[object]:
        options = {"compare_type": True, "version_table": postgres_schema.VERSION_TABLE}
        return list(compare_metadata(MigrationContext.configure(connection, opts=options), metadata))

    async with a_pool(database.url) as postgres, postgres.reading() as connection:
        assert await connection.run_sync(differences) == []
    assert database.sql("SELECT version_num FROM quell_schema") == [[SCHEMA]]


async def test_of_many_replicas_one_migrates(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them find the tables that one of them made, whoever it is."""
    made = []

    def counting(connection: Connection, version_table: str) -> None:
        made.append(version_table)
        run_migrations(connection, version_table)

    monkeypatch.setattr("proxy.stores.postgres_schema.run_migrations", counting)
    async with AsyncExitStack() as stack:
        replicas = [await stack.enter_async_context(a_pool(database.url)) for _ in range(8)]
        await asyncio.gather(*(replica.prepare() for replica in replicas))
        assert len(made) == 1
        for number, replica in enumerate(replicas):
            async with replica.writing() as connection:
                await connection.execute(spool.insert().values(id=f"s{number}", replica="one", number=2**40))
        async with replicas[0].reading() as connection:
            assert await connection.scalar(select(func.count()).select_from(spool)) == 8


async def test_a_newer_schema_is_refused(database: Database) -> None:
    """What a newer version wrote is not touched, and the message names both versions and the way out."""
    async with a_pool(database.url) as first:
        await first.prepare()
    database.sql("UPDATE quell_schema SET version_num = '9999'")
    message = f"has schema 9999, this program knows those up to {SCHEMA}"
    async with a_pool(database.url) as second:
        with pytest.raises(LedgerOpenError, match=message):
            await second.prepare()
        with pytest.raises(LedgerUnavailableError, match=message):
            async with second.reading():
                pass


async def test_the_tables_of_another_program_are_left_alone(database: Database) -> None:
    """A database in which a table has one of our names is refused, and stays as it is."""
    database.sql("CREATE TABLE message (id int)")
    async with a_pool(database.url) as postgres:
        with pytest.raises(LedgerOpenError, match="another program has a table message there"):
            await postgres.prepare()
    assert database.sql("SELECT count(*) FROM information_schema.tables WHERE table_schema = 'public'") == [["1"]]


async def test_a_server_that_is_away_is_unavailable() -> None:
    """Nobody listens: what is asked fails at once, says where, and never says the password."""
    url = f"postgresql://me:{PASSWORD}@127.0.0.1:{free_port()}/quell"
    async with a_pool(url) as postgres:
        for _ in range(2):
            with pytest.raises(LedgerUnavailableError, match=r"127\.0\.0\.1:[0-9]+/quell") as caught:
                async with postgres.reading():
                    pass
            assert PASSWORD not in f"{caught.value!r} {caught.value.__cause__!r}"


async def test_a_wrong_password_is_no_secret_told(database: Database) -> None:
    """The server refuses; the message says so, without the password that was sent."""
    async with a_pool(database.url.replace(PASSWORD, "wrong-canary")) as postgres:
        with pytest.raises(LedgerUnavailableError, match="password authentication failed") as caught:
            await postgres.prepare()
        assert "wrong-canary" not in repr(caught.value) + repr(postgres._address)


async def test_a_lock_is_waited_for_no_longer_than_the_time_allows(database: Database) -> None:
    """Who can't get a table fails within its time, and the pool is whole behind it."""
    async with a_pool(database.url) as postgres:
        async with postgres.writing() as holder:
            await holder.exec_driver_sql("LOCK TABLE spool")
            with pytest.raises(LedgerUnavailableError, match="lock timeout"):
                async with postgres.writing(4.0) as connection:
                    await connection.execute(spool.insert().values(id="x", replica="one", number=1))
        async with postgres.writing() as connection:
            await connection.execute(spool.insert().values(id="x", replica="one", number=1))
    assert database.sql("SELECT number FROM spool") == [["1"]]


async def test_no_wait_outlasts_its_deadline(database: Database) -> None:
    """Packets vanish on an open connection: a transaction ends when its time is over, and `close` ends too."""
    async with tcp_link(database.server.port) as link:
        async with a_pool(database.url_at(link.port), size=2) as postgres:
            await postgres.prepare()
            async with postgres.reading(), postgres.reading():
                pass  # two connections wait in the pool
            link.audible.clear()
            began = time.monotonic()
            with pytest.raises(LedgerUnavailableError, match="no answer in time"):
                async with postgres.reading(1.0):
                    pass
            assert time.monotonic() - began < 2.5  # what SQLAlchemy adds is 2 s
            async with asyncio.timeout(20):
                await postgres.close()


async def test_a_transaction_that_outlives_close_takes_its_connection_along(database: Database) -> None:
    """The pool is closed while one is used: that ends with its transaction, and no other begins."""
    async with a_pool(database.url) as postgres:
        async with postgres.writing() as connection:
            await postgres.close()
            assert await connection.scalar(select(1)) == 1
        gc.collect()  # says of what nobody closed that it is unclosed
        gone = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        await eventually(lambda: database.sql(gone) == [["0"]], what="the server has seen the end")
        with pytest.raises(LedgerUnavailableError, match="are closed"):
            async with postgres.reading():
                pass


async def test_the_parts_of_tls_are_read(database: Database, tmp_path: Path) -> None:
    """A file that is no certificate is an error of the settings; a server without TLS is none for `sslmode=require`."""
    broken = tmp_path / "ca.pem"
    broken.write_text("none")
    port = database.server.port
    async with a_pool(database.url_at(port, f"?sslmode=verify-full&sslrootcert={broken}")) as postgres:
        with pytest.raises(LedgerOpenError, match=r"ca\.pem can't be read as certificates"):
            await postgres.prepare()
    async with a_pool(database.url_at(port, "?sslmode=require")) as postgres:
        with pytest.raises(LedgerUnavailableError, match="rejected SSL"):
            await postgres.prepare()


async def test_a_server_is_known_by_its_certificate(tmp_path: Path, database: Database) -> None:
    """With `verify-full` nobody else is spoken to: no certificate of another authority or name will do."""
    good, other = make_certificate(tmp_path), make_certificate(tmp_path, "wrong_name")

    async def spoken_to(port: int, options: str) -> bool:
        async with a_pool(database.url_at(port, options)) as postgres:
            try:
                await postgres.prepare()
            except LedgerUnavailableError as error:
                assert "certificate" in str(error)  # noqa: PT017 - it may be refused, for no other reason
                return False
            return True

    async with tcp_link(database.server.port, good) as front:
        assert await spoken_to(front.port, "?sslmode=require")
        assert await spoken_to(front.port, f"?sslmode=verify-full&sslrootcert={good.cert}")
        assert not await spoken_to(front.port, f"?sslmode=verify-full&sslrootcert={other.cert}")
        assert not await spoken_to(front.port, "?sslmode=verify-full")
    async with tcp_link(database.server.port, other) as front:
        assert await spoken_to(front.port, f"?sslmode=verify-ca&sslrootcert={other.cert}")
        assert not await spoken_to(front.port, f"?sslmode=verify-full&sslrootcert={other.cert}")


async def test_of_several_hosts_one_that_answers_is_used(database: Database) -> None:
    """The first one is away: the second is asked."""
    url = database.url.replace("@", f"@127.0.0.1:{free_port()},")
    async with a_pool(url) as postgres, postgres.reading() as connection:
        assert (await connection.exec_driver_sql("SELECT current_database()")).scalar() == database.name


async def test_a_pooler_in_transaction_mode_may_stand_between(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through PgBouncer, which gives each transaction any server connection, several at once read and write.

    Names that asyncpg would give to statements are those that another process gives, too.
    """
    monkeypatch.setattr("asyncpg.connection.Connection._get_unique_id", lambda *_: "__asyncpg_stmt_1__")
    async with pgbouncer(database) as port, a_pool(database.url_at(port), size=3) as postgres:

        async def write(number: int) -> None:
            async with postgres.writing() as connection:
                await connection.execute(spool.insert().values(id=f"s{number}", replica="one", number=number))
                assert await connection.scalar(select(spool.c.number).where(spool.c.id == f"s{number}")) == number

        await asyncio.gather(*(write(number) for number in range(60)))
        async with postgres.reading() as connection:
            assert await connection.scalar(select(func.count()).select_from(spool)) == 60
