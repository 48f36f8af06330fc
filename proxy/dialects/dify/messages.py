"""`/messages`: what was said in a conversation, and what an end user thinks of an answer."""

from typing import Any, Final
from uuid import NAMESPACE_URL, uuid5

from proxy.core.conversation import Message, MessageStatus
from proxy.core.partial import safe_text
from proxy.dialects.dify.errors import invalid_param, not_there
from proxy.dialects.dify.fields import SUCCESS, body_of, json_reply, limit_of, query_of, user_of, uuid_of
from proxy.dialects.dify.generate import app_of
from proxy.dialects.dify.turn import turn_of
from proxy.engine.plain import PlainReply, PlainRequest
from proxy.engine.translating.desk import Desk
from proxy.stores.conversations.port import Window

RATINGS: Final = ("like", "dislike")
PAGE_BYTES: Final = 2 << 20
"""So much text one page shows; a message that is longer is shown alone."""
_PREFIX: Final = "/messages/"


async def list_messages(request: PlainRequest, desk: Desk) -> PlainReply:
    """`GET /messages`: the newest ones before `first_id`, on their page in the order in which they were said."""
    query = query_of(request)
    owner = desk.owner(app_of(desk), user_of(query))
    conversation_id = uuid_of(query, "conversation_id")
    if conversation_id is None:
        raise invalid_param("conversation_id is required.", "conversation_id")
    limit, first_id = limit_of(query), uuid_of(query, "first_id")
    if await desk.conversations.find_thread(owner, conversation_id) is None:
        raise not_there("Conversation")
    try:
        window = Window(limit=limit, after=first_id, most_bytes=PAGE_BYTES)
        found, more = await desk.conversations.messages(owner, conversation_id, window)
    except KeyError as error:
        raise not_there("First Message") from error
    return json_reply({"limit": limit, "has_more": more, "data": [_shown(message) for message in reversed(found)]})


def feedback_id(rest: str) -> str | None:
    """The message id in the path of the feedbacks; None: it is another path."""
    message_id, slash, verb = rest.removeprefix(_PREFIX).partition("/")
    return message_id if rest.startswith(_PREFIX) and slash and verb == "feedbacks" else None


async def rate(message_id: str, request: PlainRequest, desk: Desk) -> PlainReply:
    """`POST /messages/{id}/feedbacks`: the end user's rating of an own message; null takes it back."""
    body = await body_of(request, desk)
    owner = desk.owner(app_of(desk), user_of(body))
    rating, content = body.get("rating"), body.get("content")
    if rating is not None and rating not in RATINGS:
        raise invalid_param("rating must be like, dislike or null.", "rating")
    if content is not None and not isinstance(content, str):
        raise invalid_param("content must be a string or null.", "content")
    message = await desk.conversations.find_message(owner, message_id)
    if message is None:
        raise not_there("Message")
    kept = {name: value for name, value in message.metadata.items() if name != "feedback"}
    if rating is not None:
        kept["feedback"] = {"rating": rating, "content": None if content is None else safe_text(content)}
    if not await desk.conversations.update_message(owner, message_id, metadata=kept):
        raise not_there("Message")
    return SUCCESS


def _shown(message: Message) -> dict[str, Any]:
    """A message as the API has it: the query together with its answer."""
    turn = turn_of(message)
    feedback = message.metadata.get("feedback")
    failed = message.status is MessageStatus.FAILED
    return {
        "id": message.id,
        "conversation_id": message.thread_id,
        "inputs": dict(turn.inputs),
        "query": turn.values()["query"],
        "answer": message.text,
        "message_files": [_file(message.id, url) for url in turn.images],
        "feedback": None if feedback is None else {"rating": feedback["rating"]},
        "retriever_resources": [],
        "agent_thoughts": [],
        "created_at": int(message.created_at),
        "status": "error" if failed else "normal",
        "error": message.content.get("error") if failed else None,
    }


def _file(message_id: str, url: str) -> dict[str, Any]:
    return {"id": str(uuid5(NAMESPACE_URL, f"{message_id}/{url}")), "type": "image", "url": url, "belongs_to": "user"}
