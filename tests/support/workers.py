"""The program with several workers in tests: its processes, which worker runs what, and when all of them are joined.

async with running_workers(up.base_url, tmp_path) as workers:
    ... workers.program, workers.pids(), await workers.owner("task-1")
"""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

from redis import Redis

from proxy.stores.bus.names import Names
from support.program import Program, config_text, running_program
from support.redis_server import redis_server
from support.replicas import SECRET
from support.wait import eventually


class Workers:
    """A running program with two workers."""

    def __init__(self, program: Program) -> None:
        self.program = program

    def pids(self) -> list[int]:
        """The processes of the workers, the first one first unless it was started again."""
        return children(self.program.pid)

    def rows(self, number: int, statement: str = "SELECT task_id, outcome FROM generation") -> list[Any]:
        """Rows of a worker's ledger."""
        return rows(self.program.folder / f"quell-{number}.db", statement)

    def owner(self, task_id: str) -> int | None:
        """Which worker has the record of a generation; None: none yet."""
        found = [number for number in (1, 2) if any(task == task_id for task, _ in self.rows(number))]
        assert len(found) <= 1, f"several workers have {task_id}"
        return found[0] if found else None


def children(pid: int) -> list[int]:
    """The processes that a process has started and that live."""
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def rows(file: Path, statement: str) -> list[Any]:
    """What an SQLite file has."""
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as db:
        return db.execute(statement).fetchall()


def workers_text(base_url: str, bus_url: str, **config: Any) -> str:
    """The config of two workers."""
    return config_text(base_url, workers=2, bus={"url": bus_url, "secret": SECRET}, **config)


@asynccontextmanager
async def running_workers(base_url: str, folder: Path, **config: Any) -> AsyncIterator[Workers]:
    """Start the program with two workers and a bus of their own; both use the bus, and the directory is complete."""
    async with (
        redis_server(folder) as redis,
        running_program(workers_text(base_url, redis.url, **config), folder) as program,
    ):
        await eventually(lambda: program.log().count('"bus.up"') == 2, what="both workers use the bus")
        with Redis.from_url(redis.url) as client:
            client.set(Names(SECRET.encode()).since, 1)  # a new directory is not complete for some seconds
        yield Workers(program)
