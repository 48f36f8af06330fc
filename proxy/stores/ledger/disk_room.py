"""How much room the ledger's disk has: below the reserve no new work is taken, so that what runs can end."""

import asyncio
import os
from pathlib import Path
from typing import Final

import structlog

LOOK_SECONDS: Final = 1.0

_log = structlog.get_logger("quell.ledger")


class DiskRoom:
    """Looks once a second, from `start` to `stop`. A look at a local disk waits for nothing.

    Args:
        folder: where the ledger's files grow.
        reserve: bytes that must be free for new work.
    """

    def __init__(self, folder: Path, reserve: int) -> None:
        self._folder = folder
        self._reserve = reserve
        self._timer: asyncio.TimerHandle | None = None
        self.is_enough = True

    def start(self) -> None:
        """Look, and go on looking. Call it within a running loop."""
        if self._reserve:
            self._look()

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(LOOK_SECONDS, self._look)
        try:
            found = os.statvfs(self._folder)
        except OSError:  # a disk that can't be asked shows itself at the next write
            return
        free = found.f_bavail * found.f_frsize
        was_enough, self.is_enough = self.is_enough, free >= self._reserve
        if was_enough and not self.is_enough:
            _log.error("ledger.disk_low", free=free, reserve=self._reserve, folder=str(self._folder))
        elif self.is_enough and not was_enough:
            _log.info("ledger.disk_has_room", free=free, reserve=self._reserve)
