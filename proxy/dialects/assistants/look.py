"""Looking at runs: one that lives, or ended a short time ago, is in memory; every other one is as it is kept.

What is kept as active and is not in memory has lost its process; or another replica has it, where several share the
store: that marks what is left open by one that died.
"""

from typing import Any

from proxy.core.conversation import Item
from proxy.core.lifecycle import ASKED_FOR
from proxy.dialects.assistants.errors import not_found
from proxy.dialects.assistants.ids import NAME
from proxy.dialects.assistants.live import RUN_KIND, LiveRun, died, live_of
from proxy.engine.translating.desk import Desk
from proxy.engine.translating.run import Run


async def active_run(thread_id: str, desk: Desk) -> str | None:
    """The id of the run that holds a thread, here or at another replica.

    One that is over a moment before its record is on disk holds it no longer.
    """
    await desk.settle_run(thread_id)
    run = desk.run(thread_id)
    live = live_of(run)
    if run is None or live is None or run.is_over or live.is_over:
        return await desk.run_elsewhere(thread_id, NAME)
    return live.id


def live_run(thread_id: str, run_id: str, desk: Desk) -> tuple[Run, LiveRun] | None:
    """A run in memory, if it is this one."""
    return _found_in(desk.run(thread_id), run_id)


def _found_in(run: Run | None, run_id: str) -> tuple[Run, LiveRun] | None:
    live = live_of(run)
    return None if run is None or live is None or live.id != run_id else (run, live)


def is_stopping(run: Run) -> bool:
    """Whether somebody asked for its stop; it may be over by now."""
    stop = run.stop or (run.relay.generation.stop if run.relay is not None else None)
    return stop is not None and stop.cause in ASKED_FOR


async def have_written(run: Run, desk: Desk) -> None:
    """Have the end of a run written that the store did not take when it came.

    Raises:
        LedgerUnavailableError: it does not take it now either.
    """
    if run.is_over and not run.is_written:
        await desk.leave_run(run)


def shown(run: Run, live: LiveRun) -> dict[str, Any]:
    """A run in memory, as the API shows it now."""
    if is_stopping(run) and not live.is_over:
        return {**live.run, "status": "cancelling", "required_action": None}
    return live.run


async def look(thread_id: str, run_id: str, desk: Desk) -> dict[str, Any]:
    """The caller's run, as the API shows it now. What it says is over is on disk.

    Raises:
        Refusal: 404, there is none with this id in this thread.
    """
    found = live_run(thread_id, run_id, desk)
    item = await desk.conversations.find_item(desk.owner(NAME), RUN_KIND, run_id)
    if item is None or item.thread_id != thread_id:
        raise not_found("run", run_id)
    return await _as_it_is(found, item, desk)


async def look_at(item: Item, live: Run | None, desk: Desk) -> dict[str, Any]:
    """The same of a kept run that is listed; `live` is the thread's run in memory before the list was read."""
    return await _as_it_is(_found_in(live, item.id), item, desk)


async def _as_it_is(found: tuple[Run, LiveRun] | None, item: Item, desk: Desk) -> dict[str, Any]:
    """What is in memory goes before what was kept a moment ago; if it has ended meanwhile, that is written first."""
    if found is None:
        return as_kept(item, desk)
    if found[1].is_over:
        await desk.settle_run(item.thread_id or "")
        await have_written(found[0], desk)
    return shown(*found)


def as_kept(item: Item, desk: Desk) -> dict[str, Any]:
    """A kept run or step that is not in memory: what is open without another replica that works on it has ended."""
    return dict(item.body) if item.is_open and not desk.is_alone else died(item.body)
