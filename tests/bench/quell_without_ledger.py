"""The proxy that neither counts tokens nor keeps a ledger, a process of its own: what both cost is the difference.

`python quell_without_ledger.py CONFIG`.
"""

import asyncio
import os
import signal
import sys
from pathlib import Path

import uvloop

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
import proxy.app.app
from proxy.app import App
from proxy.cli.logs import set_up_log
from proxy.cli.running import settle_memory
from proxy.config_file.loader import load
from proxy.core.record import UsageSource
from proxy.engine.settling.counting import Counter
from proxy.stores.ledger.null import NullLedger


class NotCounting(Counter):
    """A counter to which every text and every prompt is nothing."""

    async def warm(self, *_: object) -> None:
        """Load nothing."""

    async def count_each(self, *_: object) -> tuple[int, UsageSource]:
        """Count nothing."""
        return 0, UsageSource.ESTIMATE

    async def count_prompt(self, *_: object) -> tuple[int | None, UsageSource]:
        """The same."""
        return 0, UsageSource.ESTIMATE


async def _main(path: Path) -> None:
    loaded = load(path, os.environ)
    if loaded.settings is None:
        sys.exit("\n".join(str(problem) for problem in loaded.problems))
    set_up_log(loaded.settings.observability.log)
    told = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
    proxy.app.app.Counter = NotCounting  # type: ignore[attr-defined]  # the composition root asks for no other one
    app = App(loaded.settings, None)
    await app.start(ledger=NullLedger())
    settle_memory()  # as `quell serve` does: only the ledger is to make a difference
    await told.wait()
    await app.stop(drain=False)


if __name__ == "__main__":
    uvloop.run(_main(Path(sys.argv[1])))
