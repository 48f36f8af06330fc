"""Every test runs on uvloop, as the program does; those of the server also on asyncio, whose transports differ."""

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping

import pytest
import uvloop
from hypothesis import settings

from support.postgres import Database, PostgresServer

settings.register_profile("quell", deadline=None, print_blob=True)  # a time limit says more of the machine than of us
settings.load_profile("quell")

ON_BOTH_LOOPS = frozenset({"test_server.py", "test_intake.py"})


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Give the loops that one test runs on."""
    factories: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"uvloop": uvloop.new_event_loop}
    if item.path.name in ON_BOTH_LOOPS:
        factories["asyncio"] = asyncio.new_event_loop
    return factories


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server for all tests, which none of them may kill; see `support.postgres` for others."""
    server = PostgresServer()
    try:
        server.launch()
        while not server.answers():
            time.sleep(0.05)
        yield server
    finally:
        server.close()


@pytest.fixture
def database(postgres: PostgresServer) -> Iterator[Database]:
    """An empty database of PostgreSQL."""
    created = postgres.create()
    yield created
    postgres.drop(created)
