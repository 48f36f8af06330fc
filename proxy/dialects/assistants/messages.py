"""The messages of a thread: put in, listed, read, changed, deleted."""

from proxy.core.conversation import Message, MessageStatus
from proxy.dialects.assistants import threads
from proxy.dialects.assistants.content import details, is_shown, read_message, shown
from proxy.dialects.assistants.errors import busy_for_message, not_found, refused_state
from proxy.dialects.assistants.fields import read_fields
from proxy.dialects.assistants.ids import NAME
from proxy.dialects.assistants.lists import deleted, listed, part, read_page, read_query, reply
from proxy.dialects.assistants.look import active_run
from proxy.engine.plain import PlainReply, PlainRequest
from proxy.engine.translating.desk import Desk


async def create(thread_id: str, request: PlainRequest, desk: Desk) -> PlainReply:
    """`POST /threads/{id}/messages`; not while a run is active on the thread."""
    fields = await read_fields(request.body, desk)
    message = read_message(fields, desk.identity.name, thread_id, desk.wall())
    await threads.find(thread_id, desk)
    if (run_id := await active_run(thread_id, desk)) is not None:
        raise busy_for_message(thread_id, run_id)
    if not await desk.conversations.add_messages(message):
        raise not_found("thread", thread_id)
    return reply(shown(message))


async def list_all(thread_id: str, request: PlainRequest, desk: Desk) -> PlainReply:
    """`GET /threads/{id}/messages`, of one run with `run_id`."""
    page, run_id, owner = read_page(request.query), read_query(request.query).get("run_id"), desk.owner(NAME)
    await threads.find(thread_id, desk)

    def is_meant(message: Message) -> bool:
        return is_shown(message) and run_id in (None, details(message).get("run_id"))

    found, more = await part(
        page,
        lambda window: desk.conversations.messages(owner, thread_id, window),
        is_meant,
        page.limit + 2 if run_id is None else None,
    )
    return listed([shown(message) for message in found], more=more)


async def read(thread_id: str, message_id: str, _request: PlainRequest, desk: Desk) -> PlainReply:
    """`GET /threads/{id}/messages/{id}`."""
    return reply(shown(await _find(thread_id, message_id, desk)))


async def update(thread_id: str, message_id: str, request: PlainRequest, desk: Desk) -> PlainReply:
    """`POST /threads/{id}/messages/{id}`: only the metadata can change."""
    metadata = (await read_fields(request.body, desk)).metadata()
    message = await _find(thread_id, message_id, desk)
    kept = dict(message.metadata) if metadata is None else metadata
    if not await desk.conversations.update_message(desk.owner(NAME), message_id, metadata=kept):
        raise not_found("message", message_id)
    return reply(shown(message) | {"metadata": kept})


async def delete(thread_id: str, message_id: str, _request: PlainRequest, desk: Desk) -> PlainReply:
    """`DELETE /threads/{id}/messages/{id}`: its text is deleted from record and tape too."""
    message = await _find(thread_id, message_id, desk)
    if message.status is MessageStatus.IN_PROGRESS:
        raise refused_state(f"Can't delete {message_id} while its run is active.")
    await desk.delete_messages(desk.owner(NAME), message_id)
    return deleted(message_id, "thread.message")


async def _find(thread_id: str, message_id: str, desk: Desk) -> Message:
    await threads.find(thread_id, desk)
    found = await desk.conversations.find_message(desk.owner(NAME), message_id)
    if found is None or found.thread_id != thread_id or not is_shown(found):
        raise not_found("message", message_id)
    return found
