"""The proxy with the ledger that keeps nothing, a process of its own: what the ledger costs shows in the difference.

`python quell_without_ledger.py CONFIG`.
"""

import asyncio
import os
import signal
import sys
from pathlib import Path

import uvloop

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from proxy.app import App
from proxy.cli.logs import set_up_log
from proxy.cli.running import settle_memory
from proxy.config_file.loader import load
from proxy.stores.ledger_null import NullLedger


async def _main(path: Path) -> None:
    loaded = load(path, os.environ)
    if loaded.settings is None:
        sys.exit("\n".join(str(problem) for problem in loaded.problems))
    set_up_log(loaded.settings.observability.log)
    told = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
    app = App(loaded.settings, None)
    await app.start(ledger=NullLedger())
    settle_memory()  # as `quell serve` does: only the ledger is to make a difference
    await told.wait()
    await app.stop(drain=False)


if __name__ == "__main__":
    uvloop.run(_main(Path(sys.argv[1])))
