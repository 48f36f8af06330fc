"""What is to be done when a run ends that had no living generation: its dialect is told, within bounds."""

import asyncio
from typing import Final

from proxy.engine.failures import log_failure
from proxy.engine.runs import Run

LEAVE_SECONDS: Final = 5.0
"""How long a dialect may take to store that a run is over."""


async def leave(run: Run, seconds: float = LEAVE_SECONDS) -> None:
    """Await the run's `on_left`. Never raises: that the run is over holds whatever a store says."""
    if run.on_left is None:
        return
    try:
        async with asyncio.timeout(seconds):
            await run.on_left(run)
    except Exception as error:  # noqa: BLE001 a store that fails, or a dialect's defect, must not fail a stop
        log_failure("run.leave_failed", error)
