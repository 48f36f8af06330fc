"""The steps of a run: listed and read."""

from typing import Any, Final

from proxy.dialects.assistants.errors import not_found
from proxy.dialects.assistants.ids import NAME
from proxy.dialects.assistants.lists import listed, part_of, read_page, reply
from proxy.dialects.assistants.live import STEP_KIND
from proxy.dialects.assistants.look import as_kept, live_run, look
from proxy.engine.plain import PlainReply, PlainRequest
from proxy.engine.translating.desk import Desk
from proxy.stores.conversations.port import Window

PAGE: Final = 200


async def list_all(thread_id: str, run_id: str, request: PlainRequest, desk: Desk) -> PlainReply:
    """`GET /threads/{id}/runs/{id}/steps`."""
    page = read_page(request.query)
    data, more = part_of(page, await _steps(thread_id, run_id, desk))
    return listed(data, more=more)


async def read(thread_id: str, run_id: str, step_id: str, _request: PlainRequest, desk: Desk) -> PlainReply:
    """`GET /threads/{id}/runs/{id}/steps/{id}`."""
    for step in await _steps(thread_id, run_id, desk):
        if step["id"] == step_id:
            return reply(step)
    raise not_found("run step", step_id)


async def _steps(thread_id: str, run_id: str, desk: Desk) -> list[dict[str, Any]]:
    """All steps of the caller's run, oldest first. A run has few: one or two for each tool round."""
    await look(thread_id, run_id, desk)
    if (found := live_run(thread_id, run_id, desk)) is not None:
        return found[1].steps
    owner, steps = desk.owner(NAME), list[dict[str, Any]]()
    more, after = True, None
    while more:
        items, more = await desk.conversations.items(owner, STEP_KIND, run_id, Window(PAGE, "oldest", after))
        after = items[-1].id if items else None
        steps += [as_kept(item, desk) for item in items]
        more = more and bool(items)
    return steps
