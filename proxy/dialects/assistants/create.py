"""`POST /threads/{id}/runs` and `POST /threads/runs`: from a request to the run and its first generation."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from proxy.core.conversation import Message, Thread
from proxy.core.errors import Refusal
from proxy.dialects.assistants import assistants, frames, history, threads
from proxy.dialects.assistants.content import read_message
from proxy.dialects.assistants.errors import busy_for_run, not_found
from proxy.dialects.assistants.fields import Fields, read_fields
from proxy.dialects.assistants.generation import answer_of, body_of, over_limit, plan_of, started, worked_out
from proxy.dialects.assistants.ids import NAME
from proxy.dialects.assistants.leaving import left
from proxy.dialects.assistants.live import LiveRun
from proxy.dialects.assistants.look import active_run
from proxy.dialects.assistants.run_request import EXPIRES, Asked, new_run, read_run, said_of
from proxy.dialects.assistants.threads import MAX_MESSAGES
from proxy.dialects.assistants.translation import RunTranslation
from proxy.engine.dialect import Launch
from proxy.engine.plain import PlainReply, PlainRequest
from proxy.engine.relaying.plan import Plan
from proxy.engine.translating.desk import Desk
from proxy.engine.translating.run import Run
from proxy.engine.translating.translation import Kept
from proxy.stores.conversations.port import Conversations


@dataclass(frozen=True, slots=True)
class Place:
    """Where a run goes: `thread` is a new one, None for one that is there; `brought` are the request's messages."""

    thread_id: str
    thread: Thread | None
    brought: Sequence[Message]


async def in_thread(thread_id: str, request: PlainRequest, desk: Desk) -> Plan | Launch | PlainReply:
    """`POST /threads/{id}/runs`."""
    fields = await read_fields(request.body, desk)
    asked = read_run(fields)
    items = fields.objects("additional_messages", MAX_MESSAGES) or []
    brought = [read_message(item, desk.identity.name, thread_id, desk.wall()) for item in items]
    await threads.find(thread_id, desk)
    return await _create(asked, Place(thread_id, None, brought), request, desk)


async def with_thread(request: PlainRequest, desk: Desk) -> Plan | Launch | PlainReply:
    """`POST /threads/runs`: a new thread, with its messages, and a run on it."""
    fields = await read_fields(request.body, desk)
    asked = read_run(fields)
    thread, messages = threads.read_thread(fields.object("thread") or Fields({}), desk)
    return await _create(asked, Place(thread.id, thread, messages), request, desk)


async def _create(asked: Asked, place: Place, request: PlainRequest, desk: Desk) -> Plan | Launch | PlainReply:
    assistant = await assistants.find(asked.assistant_id, desk)
    if (active := await active_run(place.thread_id, desk)) is not None:
        raise busy_for_run(place.thread_id, active)
    now = desk.wall()
    live = LiveRun(
        identity=desk.identity.name,
        conversations=desk.conversations,
        run=new_run(asked, assistant, place.thread_id, desk.route, now),
        created_at=now,
        model_options=said_of(asked, assistant),
    )
    run = await _begin(live, request, desk)
    live.size = await worked_out(len(request.body), lambda: len(json.dumps(live.run)))
    desk.hold(run, live.size)
    earlier = [] if place.thread is not None else await history.load(place.thread_id, live.run, desk)
    newest_first = [*reversed(place.brought), *earlier]
    size = history.size_of(newest_first)
    room = live.run["max_prompt_tokens"]
    chat = await worked_out(size, lambda: history.fitting(live.run, newest_first, [], room))
    if chat is None:
        return await _refuse_start(live, place, asked, desk)
    answer = answer_of(live, now)
    kept = Kept(answer, tuple(place.brought), place.thread, (live.run_item(),))
    translation = RunTranslation(live, answer, thread=_shown(place.thread))
    body = await worked_out(size, lambda: body_of(live, chat, desk))
    plan = plan_of(live, body, desk, run=run, kept=kept, translation=translation, user=request.user_header)
    return started(plan, live.run, streams=asked.streams)


async def _begin(live: LiveRun, request: PlainRequest, desk: Desk) -> Run:
    thread_id = live.run["thread_id"]
    run = await desk.begin_run(thread_id, NAME, request.user_header, label=live.id, holds_waiting=True)
    if run is None:  # the one before it is over for its client, but not on a slow disk; or another replica was faster
        raise Refusal.overloaded(1, "busy", "The thread's last run is still being written; try again.")
    run.notes[NAME] = live
    run.on_left = left
    run.waits_until = desk.now() + EXPIRES
    return run


async def _refuse_start(live: LiveRun, place: Place, asked: Asked, desk: Desk) -> PlainReply:
    """Keep a run whose prompt is too long: it is over before any model is asked.

    Raises:
        Refusal: 404, its thread was deleted meanwhile.
    """
    before = b"" if place.thread is None else frames.event("thread.created", threads.shown(place.thread))
    before += frames.event("thread.run.created", live.run) + frames.run_event(live.run)
    said = over_limit(live, "max_prompt_tokens", desk.wall(), before)
    if not await desk.carry_out(_put_in(live, place, desk.conversations), "keep a run without a model call"):
        raise not_found("thread", place.thread_id)
    return said.reply(live, streams=asked.streams)


async def _put_in(live: LiveRun, place: Place, store: Conversations) -> bool:
    """Put a run in, with what its request brought; False: its thread was deleted meanwhile."""
    if place.thread is not None:
        await store.add_thread(place.thread)
    return await store.add_messages(*place.brought) and await store.add_items(live.run_item())


def _shown(thread: Thread | None) -> dict[str, Any] | None:
    return None if thread is None else threads.shown(thread)
