"""What is to be done when a run ends that had no living generation: its dialect is told, whoever asked for the end."""

import asyncio
from typing import Final

from proxy.engine.failures import log_failure
from proxy.engine.tasks import Tasks
from proxy.engine.translating.run import Run

LEAVE_SECONDS: Final = 5.0
"""How long those wait for a dialect that store that a run is over."""
TELL_SECONDS: Final = 60.0
"""How long a dialect may take for it."""


class LeftRuns:
    """Tells the dialects, in tasks of its own: a stopper that leaves takes nothing of its stop along."""

    def __init__(self) -> None:
        self._tasks = Tasks()
        self._telling: dict[Run, asyncio.Task[None]] = {}

    def tell(self, run: Run) -> "asyncio.Task[None]":
        """Begin to await the run's `on_left`, unless that is going on. The task never raises.

        That the run is over holds whatever a store says; `Run.is_written` is whether it was told.
        """
        telling = self._telling.get(run)
        if telling is None:
            run.is_written = False
            telling = self._telling[run] = self._tasks.start(self._tell(run), "leave a run")
        return telling

    async def told(self, run: Run, seconds: float = LEAVE_SECONDS) -> bool:
        """Tell, and wait for it for so long; False: it could not be written, or not yet."""
        await asyncio.wait({self.tell(run)}, timeout=seconds)
        return run.is_written

    async def finish(self) -> None:
        """Wait until all are told."""
        await self._tasks.finish()

    async def _tell(self, run: Run) -> None:
        try:
            async with asyncio.timeout(TELL_SECONDS):
                if run.on_left is not None:
                    await run.on_left(run)
            run.is_written = True
        except Exception as error:  # noqa: BLE001 a store that fails, or a dialect's defect, must not fail a stop
            log_failure("run.leave_failed", error)
        finally:
            del self._telling[run]
