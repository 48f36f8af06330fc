"""Whether everything is back to where it was: open files and sockets of a process, tasks of this one.

async with back_to_start(program.pid):
    ... a fault ...
"""

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from support.wait import PATIENCE, eventually


def open_files(pid: int | None = None) -> Counter[str]:
    """What a process has open: how many sockets, pipes and others, and each file by its path (default: this one)."""
    found: Counter[str] = Counter()
    for entry in Path(f"/proc/{pid or os.getpid()}/fd").iterdir():
        try:
            target = str(entry.readlink())
        except FileNotFoundError:  # closed while we looked, or the folder's own
            continue
        if target == "/dev/null":  # uvloop opens it with its first stream, for the day when no file is left
            continue
        found[target if target.startswith("/") and not target.startswith("/proc/") else target.partition(":")[0]] += 1
    return found


def tasks_running() -> set[asyncio.Task[object]]:
    """The tasks of this loop, but for the one that asks."""
    return asyncio.all_tasks() - {asyncio.current_task()}


@asynccontextmanager
async def back_to_start(pid: int | None = None, *, seconds: float = PATIENCE) -> AsyncIterator[None]:
    """Demand that nothing more is open behind the block than before it, in this process or in `pid`'s.

    In this process no task may be left either. What is kept open on purpose (pooled connections, the ledger) must be
    open before the block begins: let one call through first.

    Raises:
        AssertionError: something was still open after `seconds`; says what.
    """
    files, tasks = open_files(pid), tasks_running()
    yield

    def back() -> bool:
        more = open_files(pid) - files
        assert not more, f"still open: {dict(more)}"
        left = tasks_running() - tasks if pid is None else set()
        assert not left, f"tasks still running: {sorted(task.get_name() for task in left)}"
        return True

    await eventually(back, seconds, "everything is back to where it was")
