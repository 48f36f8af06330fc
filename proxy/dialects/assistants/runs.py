"""The runs of a thread: listed, read, changed, cancelled. They are made in `create`, and go on in `submit`."""

from collections.abc import Mapping
from typing import Any, Final

from proxy.core.errors import Refusal
from proxy.core.lifecycle import Outcome
from proxy.core.record import Record
from proxy.dialects.assistants import threads
from proxy.dialects.assistants.errors import not_found, uncancellable
from proxy.dialects.assistants.fields import read_fields
from proxy.dialects.assistants.ids import NAME
from proxy.dialects.assistants.lists import listed, part, read_page, reply
from proxy.dialects.assistants.live import RUN_KIND, TERMINAL
from proxy.dialects.assistants.look import have_written, is_stopping, live_run, look, look_at
from proxy.engine.plain import PlainReply, PlainRequest
from proxy.engine.translating.desk import Desk

POLL: Final = ("openai-poll-after-ms", "250")
"""When a client's polling helper is to ask again, in milliseconds."""


async def list_all(thread_id: str, request: PlainRequest, desk: Desk) -> PlainReply:
    """`GET /threads/{id}/runs`."""
    page, owner = read_page(request.query), desk.owner(NAME)
    await threads.find(thread_id, desk)
    live = desk.run(thread_id)
    found, more = await part(page, lambda window: desk.conversations.items(owner, RUN_KIND, thread_id, window))
    return listed([await look_at(item, live, desk) for item in found], more=more)


async def read(thread_id: str, run_id: str, _request: PlainRequest, desk: Desk) -> PlainReply:
    """`GET /threads/{id}/runs/{id}`."""
    return _told(await look(thread_id, run_id, desk))


async def update(thread_id: str, run_id: str, request: PlainRequest, desk: Desk) -> PlainReply:
    """`POST /threads/{id}/runs/{id}`: only the metadata can change, whatever the status is.

    Raises:
        Refusal: 503, another replica has the run and can't be asked now; 404.
    """
    metadata = (await read_fields(request.body, desk)).metadata()
    run = await look(thread_id, run_id, desk)
    if metadata is None:
        return _told(run)
    if (found := live_run(thread_id, run_id, desk)) is not None:
        found[1].run = body = {**found[1].run, "metadata": metadata}
    else:
        body = {**run, "metadata": metadata}
    is_open = body["status"] not in TERMINAL
    if is_open and found is None and not desk.is_alone:  # what its owner writes next knows nothing of this
        raise Refusal.bus_unavailable()
    if not await desk.conversations.update_item(desk.owner(NAME), RUN_KIND, run_id, body, is_open=is_open):
        raise not_found("run", run_id)
    return _told({**run, "metadata": metadata})


async def cancel(thread_id: str, run_id: str, _request: PlainRequest, desk: Desk) -> PlainReply:
    """`POST /threads/{id}/runs/{id}/cancel`: the upstream is closed, and the run is `cancelled` as soon as asked again.

    Raises:
        Refusal: 400, it is over, or was cancelled before; 404; 503, another replica has it and can't be told.
    """
    found = live_run(thread_id, run_id, desk)
    if found is None:
        status = (await look(thread_id, run_id, desk))["status"]
        raise uncancellable(status) if status in TERMINAL or desk.is_alone else Refusal.bus_unavailable()
    run, live = found
    if live.is_over or run.is_over or is_stopping(run):
        await have_written(run, desk)
        raise uncancellable(live.status if live.is_over else "cancelling")
    cancelling = {**live.run, "status": "cancelling", "required_action": None}
    await desk.stop(thread_id, dialect=NAME)
    if live.is_over and live.status != "cancelled":  # its end came first
        raise uncancellable(live.status)
    return _told({**cancelling, "metadata": live.run["metadata"]})


async def unserved(thread_id: str, run_id: str, record: Record, desk: Desk) -> PlainReply:
    """Its replica has not confirmed: the run is `cancelling`, where its object is known here; or that one is dead.

    Raises:
        Refusal: 400, its replica died; 503, only that one has the run.
    """
    if record.outcome is not Outcome.RUNNING:
        raise uncancellable("failed")
    item = await desk.conversations.find_item(desk.owner(NAME), RUN_KIND, run_id)
    if item is None or item.thread_id != thread_id:
        raise Refusal.bus_unavailable()
    if item.body["status"] in TERMINAL:
        raise uncancellable(item.body["status"])
    return _told({**item.body, "status": "cancelling", "required_action": None})


def _told(run: Mapping[str, Any]) -> PlainReply:
    answer = reply(run)
    return PlainReply(answer.status, answer.body, (POLL,))
