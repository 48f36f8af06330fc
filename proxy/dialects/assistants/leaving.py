"""What becomes of a run that ends while it waits for its tools: it was cancelled, has expired, or is at its bound."""

import asyncio
import time

from proxy.core.lifecycle import RunState
from proxy.dialects.assistants.ids import NAME
from proxy.dialects.assistants.live import RUN_KIND, STEP_KIND, live_of
from proxy.engine.translating.run import Run
from proxy.stores.conversations.port import Owner


async def left(run: Run) -> None:
    """The run is over without a model call that says so: write it and its steps as they are now.

    Raises:
        LedgerUnavailableError: they can't be written now.
    """
    live = live_of(run)
    if live is None:
        return
    if not live.is_over:  # it is at its bound of tokens, and where the writing failed and is tried again
        live.end("cancelled" if run.state is RunState.STOPPED else "expired", time.time())
    owner, update = Owner(live.identity, NAME), live.conversations.update_item
    await asyncio.gather(  # all are queued: one that fails takes no other along
        update(owner, RUN_KIND, live.id, live.run, is_open=not live.is_over),
        *(update(owner, STEP_KIND, step["id"], step, is_open=step["status"] == "in_progress") for step in live.steps),
    )
