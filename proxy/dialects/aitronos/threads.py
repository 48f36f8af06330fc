"""Threads: made, listed, read, changed, deleted. Source: Aitronos' API documentation and SDK (threads, messages).

`metadata` of a kept thread: the client's own under `own`, whether lists show it, and the assistant it is bound to.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from proxy.core.conversation import Message, MessageStatus, Thread
from proxy.core.lifecycle import RunState
from proxy.dialects.aitronos import errors, history
from proxy.dialects.aitronos.catalog import reply
from proxy.dialects.aitronos.fields import Fields, read_fields
from proxy.dialects.aitronos.ids import NAME, THREAD, fresh, thread_key
from proxy.dialects.aitronos.query import Page, read_page
from proxy.engine.plain import PlainReply, PlainRequest
from proxy.engine.translating.desk import Desk
from proxy.stores.conversations.port import Outline, Window

MAX_TITLE: Final = 512
MAX_PAIRS: Final = 16
MAX_KEY: Final = 64
MAX_VALUE: Final = 512
PAGE_BYTES: Final = 2 << 20
"""So much text one page of messages shows; a message that is longer is shown alone."""
SCANNED: Final = 1000
"""So many hidden threads are passed over for one page of a list."""


def thread_metadata(
    *, visible: bool, assistant_id: str | None = None, own: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The metadata of a thread as they are kept."""
    return {"own": dict(own or {}), "visible": visible, "assistant_id": assistant_id}


async def create(request: PlainRequest, desk: Desk) -> PlainReply:
    """`POST /threads`."""
    fields = await read_fields(request.body, desk, may_be_empty=True)
    fields.string("organization_id")
    title = fields.string("title", MAX_TITLE)
    kept = thread_metadata(
        visible=fields.flag("visible_in_ui", True), assistant_id=fields.string("assistant_id"), own=_pairs(fields)
    )
    fields.check()
    now = desk.wall()
    thread = Thread(fresh(THREAD), desk.identity.name, NAME, now, now, name=title or "", metadata=kept)
    await desk.conversations.add_thread(thread)
    return reply(_shown(thread, desk, 0))


async def listed(request: PlainRequest, desk: Desk) -> PlainReply:
    """`GET /threads`: by their last change. Those made with `store: false` are shown to those who ask for them only."""
    page = read_page(request.query, default_order="desc")
    found: list[Thread] = []
    after, more = page.after, True
    for _ in range(SCANNED // page.limit + 1):
        window = Window(page.limit, page.order, after, page.before)
        try:
            part, more = await desk.conversations.threads(desk.owner(NAME), window)
        except KeyError:
            raise errors.not_found("thread that the cursor names") from None
        shown = [each for each in part if page.visible is None or each.metadata.get("visible", True) == page.visible]
        room = page.limit - len(found)
        found, more = found + shown[:room], more or len(shown) > room
        if not more or len(found) == page.limit or page.before is not None:
            break
        after = part[-1].id
    data = [await _counted(each, desk) for each in found]
    return reply({**_list(data, more=more), "limit": page.limit, "total": None})


async def read(thread_id: str, request: PlainRequest, desk: Desk) -> PlainReply:  # noqa: ARG001 nothing in it matters
    """`GET /threads/{id}`."""
    return reply(await _counted(await _find(thread_id, desk), desk))


async def update(thread_id: str, request: PlainRequest, desk: Desk) -> PlainReply:
    """`PATCH /threads/{id}`: title, metadata, visibility; the assistant only as long as there is no message."""
    fields = await read_fields(request.body, desk)
    title, assistant_id = fields.string("title", MAX_TITLE), fields.string("assistant_id")
    own = _pairs(fields) if fields.found.get("metadata") is not None else None
    visible = fields.flag("visible_in_ui", True) if fields.found.get("visible_in_ui") is not None else None
    fields.check()
    thread = await _find(thread_id, desk)
    kept = dict(thread.metadata)
    if assistant_id is not None and assistant_id != kept.get("assistant_id"):
        if (await desk.conversations.outline(desk.owner(NAME), thread.id, 1))[0]:
            raise errors.invalid({"assistant_id": "expected no other assistant: the thread has messages already"})
        kept["assistant_id"] = assistant_id
    if own is not None:
        kept["own"] = own
    if visible is not None:
        kept["visible"] = visible
    store, owner = desk.conversations, desk.owner(NAME)
    if not await store.update_thread(owner, thread.id, updated_at=desk.wall(), name=title, metadata=kept):
        raise errors.not_found("thread with this id")
    return reply(await _counted(await _find(thread_id, desk), desk))


async def delete(thread_id: str, request: PlainRequest, desk: Desk) -> PlainReply:  # noqa: ARG001 nothing in it matters
    """`DELETE /threads/{id}`: what runs on it is stopped, its texts are deleted from records and tapes too."""
    thread = await _find(thread_id, desk)
    run = desk.run(thread.id)
    is_here = run is not None and not run.is_over
    if is_here or await desk.run_elsewhere(thread.id, NAME) is not None:
        await desk.stop(thread.id, dialect=NAME, reason="thread deleted")
    if not await desk.delete_thread(desk.owner(NAME), thread.id):
        raise errors.not_found("thread with this id")
    return PlainReply(204, b"")


async def messages(thread_id: str, request: PlainRequest, desk: Desk) -> PlainReply:
    """`GET /threads/{id}/messages`: those that count, without what a later edit took away. Long ones make it short."""
    page = read_page(request.query, default_order="asc")
    thread = await _find(thread_id, desk)
    found = await history.read(desk.conversations, desk.owner(NAME), thread.id)
    shown = [each for each in found.counting if not each.is_nothing]
    start, stop = _bounds(shown, page)
    backwards = (page.before is not None and page.after is None) != (page.order == "newest")
    part = shown[start:stop][-page.limit :] if backwards else shown[start:stop][: page.limit]
    whole = await found.whole(part, "newest" if backwards else "oldest", PAGE_BYTES)
    whole = whole if page.order == ("newest" if backwards else "oldest") else whole[::-1]
    return reply(_list([_message(each) for each in whole], more=len(whole) < stop - start))


def _bounds(oldest_first: list[Outline], page: Page) -> tuple[int, int]:
    """Between which places a page's cursors are."""
    places = {each.id: number for number, each in enumerate(oldest_first)}
    try:
        after = None if page.after is None else places[page.after]
        before = None if page.before is None else places[page.before]
    except KeyError:
        raise errors.not_found("message in this thread that the cursor names") from None
    older, newer = (after, before) if page.order == "oldest" else (before, after)
    start = 0 if older is None else older + 1
    stop = len(oldest_first) if newer is None else newer
    return start, max(start, stop)


async def _find(thread_id: str, desk: Desk) -> Thread:
    found = await desk.conversations.find_thread(desk.owner(NAME), thread_key(thread_id))
    if found is None:
        raise errors.not_found("thread with this id")
    return found


async def _counted(thread: Thread, desk: Desk) -> dict[str, Any]:
    found = (await history.read(desk.conversations, desk.owner(NAME), thread.id)).counting
    last = found[-1] if found else None
    shown = _shown(thread, desk, sum(not each.is_nothing for each in found), last.created_at if last else None)
    is_elsewhere = last is not None and last.status is MessageStatus.IN_PROGRESS and not desk.is_alone
    return {**shown, "status": "streaming"} if is_elsewhere else shown


def _shown(thread: Thread, desk: Desk, count: int, last: float | None = None) -> dict[str, Any]:
    run = desk.run(thread.id)
    return {
        "id": thread.id,
        "object": "thread",
        "created_at": _iso(thread.created_at),
        "updated_at": _iso(thread.updated_at),
        "last_message_at": None if last is None else _iso(last),
        "metadata": thread.metadata.get("own", {}),
        "assistant_id": thread.metadata.get("assistant_id"),
        "organization_id": "",
        "user_id": desk.identity.shown,
        "title": thread.name or None,
        "status": "streaming" if run is not None and run.state is RunState.WORKING else "inactive",
        "message_count": count,
        "visible_in_ui": thread.metadata.get("visible", True),
        "is_pinned": False,
    }


def _message(message: Message) -> dict[str, Any]:
    content = message.content if isinstance(message.content, dict) else {}
    chat = history.chat_of(message)
    found: dict[str, Any] = {
        "id": message.id,
        "object": "thread.message",
        "created_at": _iso(message.created_at),
        "thread_id": message.thread_id,
        "role": message.role,
        "content": message.text,
        "status": message.status.value,
        "attachments": _attachments(chat),
        "metadata": dict(message.metadata),
    }
    for name in ("tool_calls", "tool_call_id"):
        if name in chat:
            found[name] = chat[name]
    if "blocks" in content:
        found["response_blocks"] = content["blocks"]
    return found


def _attachments(chat: Mapping[str, Any]) -> list[dict[str, Any]]:
    parts = chat.get("content")
    images = [part for part in parts if part.get("type") == "image_url"] if isinstance(parts, list) else []
    return [{"type": "image", "url": part["image_url"]["url"]} for part in images]


def _list(data: list[dict[str, Any]], *, more: bool) -> dict[str, Any]:
    ends = {"first_id": data[0]["id"], "last_id": data[-1]["id"]} if data else {"first_id": None, "last_id": None}
    return {"object": "list", "data": data, **ends, "has_more": more}


def _pairs(fields: Fields) -> dict[str, Any]:
    """A thread's metadata, with their documented limits."""
    found = fields.object("metadata") or {}
    fits = len(found) <= MAX_PAIRS and all(
        len(key) <= MAX_KEY and (not isinstance(value, str) or len(value) <= MAX_VALUE) for key, value in found.items()
    )
    if not fits:
        said = f"expected at most {MAX_PAIRS} pairs, keys of {MAX_KEY} and values of {MAX_VALUE} characters"
        fields.wrong("metadata", said)
    return found


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
