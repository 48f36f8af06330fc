"""`/conversations`: an end user's conversations, their names, and their end."""

from typing import Any, Final

from proxy.core.conversation import Thread
from proxy.core.partial import safe_text
from proxy.dialects.dify.errors import invalid_param, not_there
from proxy.dialects.dify.fields import (
    body_of,
    flag_of,
    json_reply,
    limit_of,
    plain_uuid,
    query_of,
    user_of,
    uuid_of,
)
from proxy.dialects.dify.generate import app_of, name_of
from proxy.dialects.dify.turn import turn_of
from proxy.engine.plain import PlainReply, PlainRequest
from proxy.engine.translating.desk import Desk
from proxy.stores.conversations.port import Owner, Window

SORTS: Final = ("-updated_at", "updated_at", "-created_at", "created_at")
MOST_SORTED: Final = 10_000
"""Conversations of one end user, the last changed ones, that can be listed by their creation."""


async def list_conversations(request: PlainRequest, desk: Desk) -> PlainReply:
    """`GET /conversations`: a page of them behind `last_id`, by default those first that changed last."""
    query = query_of(request)
    owner = desk.owner(app_of(desk), user_of(query))
    limit, last_id = limit_of(query), uuid_of(query, "last_id")
    sort_by = query.get("sort_by") or SORTS[0]
    if sort_by not in SORTS:
        raise invalid_param(f"sort_by must be one of {', '.join(SORTS)}.", "sort_by")
    try:
        found, more = await _page(desk, owner, sort_by, last_id, limit)
    except KeyError as error:
        raise not_there("Last Conversation") from error
    return json_reply({"limit": limit, "has_more": more, "data": [shown(thread) for thread in found]})


async def rename(conversation_id: str, request: PlainRequest, desk: Desk) -> PlainReply:
    """`POST /conversations/{id}/name`: the given name, or with `auto_generate` one of the first query."""
    body = await body_of(request, desk)
    owner = desk.owner(app_of(desk), user_of(body))
    name = body.get("name")
    if flag_of(body, "auto_generate", default=False):
        oldest, _ = await desk.conversations.messages(owner, _known(conversation_id), Window(limit=1, order="oldest"))
        name = name_of(turn_of(oldest[0]).values()["query"]) if oldest else ""
    elif not isinstance(name, str) or not name.strip():
        raise invalid_param("name is required when auto_generate is false.", "name")
    name = safe_text(name)
    await desk.conversations.update_thread(owner, _known(conversation_id), updated_at=desk.wall(), name=name)
    return json_reply(shown(await _find(desk, owner, conversation_id)))


async def delete(conversation_id: str, request: PlainRequest, desk: Desk) -> PlainReply:
    """`DELETE /conversations/{id}`: what still runs in it is stopped; its text leaves record and tape too."""
    owner = desk.owner(app_of(desk), user_of(await body_of(request, desk)))
    thread = await _find(desk, owner, conversation_id)
    await desk.delete_thread(owner, thread.id)
    return PlainReply(204, b"")


def shown(thread: Thread) -> dict[str, Any]:
    """A conversation as the API has it."""
    return {
        "id": thread.id,
        "name": thread.name,
        "inputs": thread.metadata.get("inputs", {}),
        "status": "normal",
        "introduction": "",
        "created_at": int(thread.created_at),
        "updated_at": int(thread.updated_at),
    }


async def _page(desk: Desk, owner: Owner, sort_by: str, last_id: str | None, limit: int) -> tuple[list[Thread], bool]:
    """A part of the owner's conversations, and whether there are more behind it.

    Raises:
        KeyError: `last_id` is none of them.
    """
    newest_first = sort_by.startswith("-")
    if sort_by.endswith("updated_at"):
        window = Window(limit=limit, order="newest" if newest_first else "oldest", after=last_id)
        return await desk.conversations.threads(owner, window)
    found, _ = await desk.conversations.threads(owner, Window(limit=MOST_SORTED))
    found.sort(key=lambda thread: thread.created_at, reverse=newest_first)
    places = {thread.id: place for place, thread in enumerate(found)}
    start = 0 if last_id is None else places[last_id] + 1
    return found[start : start + limit], len(found) > start + limit


async def _find(desk: Desk, owner: Owner, conversation_id: str) -> Thread:
    thread = await desk.conversations.find_thread(owner, _known(conversation_id))
    if thread is None:
        raise not_there("Conversation")
    return thread


def _known(conversation_id: str) -> str:
    """The id in a path; what is no UUID can be no conversation's."""
    plain = plain_uuid(conversation_id)
    if plain is None:
        raise not_there("Conversation")
    return plain
