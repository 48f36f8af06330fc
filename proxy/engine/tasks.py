"""Background tasks: each has a name, an owner and an end."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from proxy.engine.failures import log_failure

T = TypeVar("T")


class Tasks:
    """Owns tasks: keeps them from being collected, logs what escapes them, waits for them at the end."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def start(self, coroutine: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
        """Start `coroutine` as a task owned here."""
        task = asyncio.get_running_loop().create_task(coroutine, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    async def carry_out(self, coroutine: Coroutine[Any, Any, T], name: str) -> T:
        """Do something to its end although whoever waits for it leaves."""
        return await asyncio.shield(self.start(coroutine, name))

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log_failure("task.failed", error, task=task.get_name())

    async def finish(self) -> None:
        """Wait until every task has ended by itself."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def cancel(self) -> None:
        """Cancel every task and wait for its end."""
        for task in self._tasks:
            task.cancel()
        await self.finish()
