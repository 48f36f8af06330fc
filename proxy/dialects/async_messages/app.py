"""The async messages API: its endpoints as functions of a request and the caller's desk.

Source: PrivateGPT's API reference. What it leaves open: ids belong to their caller, a foreign one looks unknown; the
DELETE is served with and without its `/delete`; a cancel's body is not read.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

from proxy.core.conversation import Message, MessageStatus
from proxy.core.errors import Refusal
from proxy.core.ids import new_id
from proxy.core.lifecycle import OnDisconnect
from proxy.core.record import Record
from proxy.core.request_body import BodyError, most_tokens
from proxy.dialects.async_messages import errors
from proxy.dialects.async_messages.events import PREFIX, Events
from proxy.dialects.async_messages.operations import OPERATIONS
from proxy.dialects.async_messages.request import Asked, read_id, read_request
from proxy.dialects.async_messages.stored import said_again, status_of
from proxy.dialects.async_messages.translation import MessageTranslation
from proxy.engine.dialect import AtOwner, Launch, Serve, Watch
from proxy.engine.plain import PlainReply, PlainRequest
from proxy.engine.relaying.finished import Finished
from proxy.engine.relaying.plan import Plan
from proxy.engine.relaying.relay import Relay
from proxy.engine.translating.desk import LARGE_BODY, Desk
from proxy.engine.translating.translation import Kept
from proxy.wire.chat_request import PATH, chat_request
from proxy.wire.openai_chat import OpenAIChat

NAME: Final = "async_messages"
ROOT: Final = "/messages/async"
WIRE: Final = OpenAIChat()
STREAM_HEADERS: Final = (("Cache-Control", "no-cache, no-transform"), ("X-Accel-Buffering", "no"))

Source = Relay | Finished | None


class AsyncMessages:
    """The dialect `async_messages`."""

    name: Final = NAME
    operations: Final = OPERATIONS

    def endpoint(self, method: str, rest: str) -> Serve | AtOwner | None:
        """Everything at and below `/messages/async` is ours.

        Raises:
            Refusal: 404, nothing is served there; 405, not by this method.
        """
        if rest == ROOT:
            return _only(method, "POST", start)
        message_id, slash, verb = rest.removeprefix(f"{ROOT}/").partition("/")
        if not rest.startswith(f"{ROOT}/"):
            if rest.lower() == ROOT or rest.lower().startswith(f"{ROOT}/"):  # an upstream might take it for the same
                raise Refusal.not_found()
            return None
        found = _ONE.get(verb) if message_id and bool(slash) is bool(verb) else None
        if found is None:
            raise Refusal.not_found()
        allowed, serve = found
        one = _only(method, allowed, lambda _, desk: serve(message_id, desk))
        if serve is cancel:
            return AtOwner(message_id, one, partial(_said_cancelled, message_id), stops=True)
        return AtOwner(message_id, one, looks=serve is not delete, stops=serve is delete)

    def refused(self, refusal: Refusal) -> PlainReply:
        """FastAPI's `detail` and Anthropic's `error`."""
        return errors.refused(refusal)


async def start(request: PlainRequest, desk: Desk) -> Launch:
    """`POST /messages/async`: the message is made from now on, whether anybody reads it or not."""
    chosen = read_id(request.query)
    body = await _object(request.body, desk)
    if len(request.body) < LARGE_BODY:
        asked = read_request(body, desk.route.model)
    else:  # images: it would hold everybody up
        asked = await asyncio.to_thread(read_request, body, desk.route.model)
    up = await desk.made(len(request.body), partial(_body_up, asked, request, desk))
    if chosen is not None and await desk.conversations.find_message(desk.owner(NAME), chosen) is not None:
        raise errors.duplicate()
    if chosen is not None and _arriving(chosen, desk) is not None:
        raise errors.duplicate()
    message_id = chosen or new_id()
    reply = {"message_id": message_id, "status": "pending", "message": "Request initiated successfully"}
    return Launch(_plan(message_id, asked, up, request, desk), PlainReply(200, json.dumps(reply).encode()))


async def stream(message_id: str, desk: Desk) -> Watch | PlainReply:
    """`GET …/stream`: the events from the first one, live or over; said again when they are no longer kept."""
    message, source = await _find(message_id, desk)
    if isinstance(source, Relay) and _says_nothing(source):
        await asyncio.shield(source.released)
        message, source = await _find(message_id, desk)
    if isinstance(source, Finished) and source.wiped:  # its delete is on its way to the disk
        raise errors.no_stream(message_id)
    if source is not None and source.tape.end and not source.tape.start:
        return Watch(source)
    if isinstance(source, Relay) and isinstance(source.plan.translation, MessageTranslation):
        so_far = source.plan.translation.so_far(source.generation.partial) if source.tape.end else b""
        return Watch(source, so_far, source.tape.end)
    return PlainReply(200, said_again(message), STREAM_HEADERS, "text/event-stream")


async def status(message_id: str, desk: Desk) -> PlainReply:
    """`GET …/status`."""
    message, source = await _find(message_id, desk)
    translation = source.plan.translation if isinstance(source, Relay) else None
    live = translation if isinstance(translation, MessageTranslation) else None
    return PlainReply(200, json.dumps(status_of(message, live)).encode())


async def cancel(message_id: str, desk: Desk) -> PlainReply:
    """`POST …/cancel`: returns when the upstream is closed. The same words for a message that is over."""
    if (live := _arriving(message_id, desk)) is not None:  # what lives is stopped before any store is asked
        await desk.stop(live.generation.facts.task_id, dialect=NAME)
    else:
        await _stop_stored(message_id, desk)
    return _cancelled(message_id)


async def _said_cancelled(message_id: str, _record: Record, _desk: Desk) -> PlainReply:
    """The API has one word for a stop, done or under way, and for what is over."""
    return _cancelled(message_id)


def _cancelled(message_id: str) -> PlainReply:
    reply = {"message": "Stream cancelled successfully", "message_id": message_id}
    return PlainReply(200, json.dumps(reply).encode())


async def _stop_stored(message_id: str, desk: Desk) -> None:
    """Stop a message that is not among those that live, or was not a moment ago.

    Raises:
        Refusal: 404, there is none; 503, another replica makes it, and can't be told.
    """
    try:
        message, source = await _find(message_id, desk)
    except Refusal:
        if desk.find(message_id) is None:
            await desk.stop(message_id, dialect=NAME)  # its start may be on the way: then it never begins
        raise
    if isinstance(source, Relay):
        await desk.stop(source.generation.facts.task_id, dialect=NAME)
    elif message.status is MessageStatus.IN_PROGRESS and not desk.is_alone:
        await desk.stop(message_id, dialect=NAME)


async def delete(message_id: str, desk: Desk) -> PlainReply:
    """`DELETE`: stops what lives, then nothing is left of the message's text, in record and tape neither."""
    message, source = await _find(message_id, desk)
    if isinstance(source, Relay):
        await desk.stop(source.generation.facts.task_id, dialect=NAME)
    if not await desk.delete_messages(desk.owner(NAME), message_id):
        raise errors.no_stream(message_id)
    if message.generation is not None:
        await desk.wipe(message.generation)  # pieces of it may have been on their way
    return PlainReply(204, b"")


_ONE: Final[dict[str, tuple[str, Callable[[str, Desk], Awaitable[Watch | PlainReply]]]]] = {
    "stream": ("GET", stream),
    "status": ("GET", status),
    "cancel": ("POST", cancel),
    "delete": ("DELETE", delete),
    "": ("DELETE", delete),
}
"""What can be asked of one message: the word behind its id, the method, and who serves it."""


def _only(method: str, allowed: str, serve: Serve) -> Serve:
    if method != allowed:
        raise Refusal(405, "method_not_allowed", f"This path takes {allowed}.", headers={"Allow": allowed})
    return serve


async def _object(body: bytes, desk: Desk) -> dict[str, Any]:
    try:
        return await desk.parse(body)
    except BodyError as error:
        raise errors.invalid((), error.message) from error


def _body_up(asked: Asked, request: PlainRequest, desk: Desk) -> bytes:
    user = request.user_header or asked.user
    return chat_request(asked.model, asked.messages, asks_usage=desk.asks_usage, user=user, **asked.fields)


def _plan(message_id: str, asked: Asked, body: bytes, request: PlainRequest, desk: Desk) -> Plan:
    events = Events(PREFIX + new_id().replace("-", ""), asked.model)
    details = {
        "answer_id": events.answer_id,
        "model": asked.model,
        "message_count": asked.count,
        "thinking_enabled": asked.thinking,
    }
    user = request.user_header or asked.user
    answer = Message(
        id=message_id,
        identity=desk.identity.name,
        dialect=NAME,
        role="assistant",
        created_at=desk.wall(),
        status=MessageStatus.IN_PROGRESS,
        user=user,
        metadata=details,
    )
    return Plan(
        dialect=NAME,
        wire=WIRE,
        path=PATH,
        query="",
        body=body,
        model=asked.model,
        user=user,
        streamed=True,
        asks_usage=desk.asks_usage,
        translation=MessageTranslation(message_id, events, details),
        kept=Kept(answer),
        message_id=message_id,
        on_disconnect=OnDisconnect.FINISH,
        max_tokens=most_tokens(asked.fields),
    )


def _arriving(message_id: str, desk: Desk) -> Relay | None:
    """The live message with this id, be it that the store does not have it yet."""
    found = desk.find(message_id)
    if isinstance(found, Relay) and found.generation.facts.dialect == NAME and found.plan.message_id == message_id:
        return found
    return None


async def _find(message_id: str, desk: Desk) -> tuple[Message, Source]:
    """The caller's message and what is left of the generation that makes or made it.

    Raises:
        Refusal: 404, there is none.
    """
    owner, store = desk.owner(NAME), desk.conversations
    message = await store.find_message(owner, message_id)
    if message is None and (arriving := _arriving(message_id, desk)) is not None:
        await arriving.start_on_disk()
        message = await store.find_message(owner, message_id)
    if message is None or message.generation is None:
        raise errors.no_stream(message_id)
    source = desk.generation(message.generation)
    if message.status is MessageStatus.IN_PROGRESS and not isinstance(source, Relay):  # it ended just now
        message = await store.find_message(owner, message_id)
        if message is None:
            raise errors.no_stream(message_id)
    return message, source


def _says_nothing(relay: Relay) -> bool:
    """Whether its stream will stay empty: it was stopped, or refused, before it could begin."""
    return isinstance(relay.head, Refusal) or (relay.head is None and relay.generation.stop is not None)
