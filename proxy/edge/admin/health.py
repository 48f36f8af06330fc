"""`GET /api/health`: whether this replica can do its work, and on what it stands. Nothing outside is called for it."""

import asyncio
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from aiohttp import web

from proxy import __version__
from proxy.core.receipt import iso
from proxy.core.settings.settings import Settings
from proxy.core.settings.urls import without_credentials
from proxy.edge.admin.query import parameters
from proxy.edge.runtime import Runtime
from proxy.engine.engine import Engine
from proxy.stores.ledger.place import path_of

WAL: Final = "-wal"
"""What SQLite adds to the name of the file that has the newest changes."""


class AdminHealth:
    """The call `/api/health`."""

    def __init__(self, engine: Engine, at_start: Settings, ready: Callable[[], dict[str, bool]]) -> None:
        """Ledger and bus are those of the settings `at_start`: a reload does not change them."""
        self._engine = engine
        self._at_start = at_start
        self._ready = ready

    async def health(self, http: web.BaseRequest, runtime: Runtime) -> dict[str, Any]:
        """The checks behind `/readyz`, bus, ledger, build and config."""
        parameters(http, ())
        ledger, group, kept = self._engine.ledger, self._engine.many.group, self._at_start.ledger
        return {
            "object": "health",
            "ready": self._ready(),
            "bus": {"configured": self._at_start.bus.url is not None, "up": group is not None and group.is_up},
            "ledger": {
                "url": without_credentials(kept.url),
                "healthy": ledger.healthy,
                "pending": ledger.pending,
                "bytes": None if kept.is_shared else await asyncio.to_thread(_bytes, path_of(kept.url)),
            },
            "build": {"version": __version__, "python": platform.python_version()},
            "config": {
                "file": runtime.settings.origin.file,
                "loaded_at": iso(runtime.loaded_at),
                "needs_restart": list(runtime.needs_restart),
            },
        }


def _bytes(path: Path) -> int | None:
    """How large the ledger's file is, with what is still to be written into it; None: there is none."""
    sizes = []
    for each in (path, path.with_name(path.name + WAL)):
        try:
            sizes.append(each.stat().st_size)
        except OSError:
            continue
    return sum(sizes) if sizes else None
