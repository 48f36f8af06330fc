"""Threads: made with messages or without, read, changed, deleted."""

from typing import Any, Final

from proxy.core.conversation import Message, Thread
from proxy.dialects.assistants.content import read_message
from proxy.dialects.assistants.errors import not_found
from proxy.dialects.assistants.fields import Fields, read_fields
from proxy.dialects.assistants.ids import NAME, THREAD, fresh
from proxy.dialects.assistants.lists import deleted, reply
from proxy.dialects.assistants.tools import NO_FILES
from proxy.engine.plain import PlainReply, PlainRequest
from proxy.engine.translating.desk import Desk

MAX_MESSAGES: Final = 1000
"""Messages that one request brings."""


async def create(request: PlainRequest, desk: Desk) -> PlainReply:
    """`POST /threads`."""
    thread, messages = read_thread(await read_fields(request.body, desk), desk)
    await desk.conversations.add_thread(thread)
    await desk.conversations.add_messages(*messages)
    return reply(shown(thread))


async def read(thread_id: str, _request: PlainRequest, desk: Desk) -> PlainReply:
    """`GET /threads/{id}`."""
    return reply(shown(await find(thread_id, desk)))


async def update(thread_id: str, request: PlainRequest, desk: Desk) -> PlainReply:
    """`POST /threads/{id}`: only the metadata can change."""
    fields = await read_fields(request.body, desk)
    fields.refuse_any("tool_resources", NO_FILES)
    metadata = fields.metadata()
    thread = await find(thread_id, desk)
    kept = thread.metadata if metadata is None else metadata
    if not await desk.conversations.update_thread(
        desk.owner(NAME), thread_id, updated_at=desk.wall(), metadata=dict(kept)
    ):
        raise not_found("thread", thread_id)
    return reply(shown(thread) | {"metadata": dict(kept)})


async def delete(thread_id: str, _request: PlainRequest, desk: Desk) -> PlainReply:
    """`DELETE /threads/{id}`: what runs on it is stopped, its texts are deleted from records and tapes too."""
    await find(thread_id, desk)
    run = desk.run(thread_id)
    is_here = run is not None and not run.is_over
    if is_here or await desk.run_elsewhere(thread_id, NAME) is not None:
        await desk.stop(thread_id, dialect=NAME, reason="thread deleted")
    if not await desk.delete_thread(desk.owner(NAME), thread_id):
        raise not_found("thread", thread_id)
    return deleted(thread_id, "thread")


async def find(thread_id: str, desk: Desk) -> Thread:
    """The caller's thread.

    Raises:
        Refusal: 404, there is none with this id.
    """
    found = await desk.conversations.find_thread(desk.owner(NAME), thread_id)
    if found is None:
        raise not_found("thread", thread_id)
    return found


def read_thread(fields: Fields, desk: Desk) -> tuple[Thread, list[Message]]:
    """A new thread with its messages, as a request has them."""
    fields.refuse_any("tool_resources", NO_FILES)
    now, identity, thread_id = desk.wall(), desk.identity.name, fresh(THREAD)
    thread = Thread(thread_id, identity, NAME, now, now, metadata=fields.metadata() or {})
    items = fields.objects("messages", MAX_MESSAGES) or []
    return thread, [read_message(item, identity, thread_id, now) for item in items]


def shown(thread: Thread) -> dict[str, Any]:
    """A thread as the API shows it."""
    return {
        "id": thread.id,
        "object": "thread",
        "created_at": int(thread.created_at),
        "metadata": dict(thread.metadata),
        "tool_resources": {},
    }
