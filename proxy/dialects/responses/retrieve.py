"""`GET` and `DELETE /responses/{id}`. Source: OpenAI's API reference.

A stream is read again from any event on, by any number of readers, while it is made and afterwards: a reader that comes
and goes changes nothing, but it keeps a response wanted whose route waits for readers.
"""

import asyncio
import json
from typing import Final

from proxy.core.conversation import Message
from proxy.core.errors import Refusal
from proxy.dialects.responses import query
from proxy.dialects.responses.fields import wrong
from proxy.dialects.responses.names import NAME
from proxy.dialects.responses.stored import Source, find, said_again, said_so_far, shown, translation_of
from proxy.engine.dialect import Watch
from proxy.engine.plain import PlainReply, PlainRequest
from proxy.engine.relaying.relay import Relay
from proxy.engine.relaying.tape import FallenBehindError
from proxy.engine.translating.desk import Desk

STREAM_HEADERS: Final = (("Cache-Control", "no-cache, no-transform"), ("X-Accel-Buffering", "no"))


async def retrieve(response_id: str, request: PlainRequest, desk: Desk) -> PlainReply | Watch:
    """`GET`: the response as it is now, or its stream, behind event `starting_after` or from the first one."""
    asked = query.read_query(request.query)
    streams, after = query.flag(asked, "stream"), query.whole(asked, "starting_after", 0)
    message, source = await find(response_id, desk)
    if not streams:
        return PlainReply(200, json.dumps(shown(message, source)).encode())
    if not message.metadata["streams"]:
        text = "This response cannot be streamed because it was not created with stream=true."
        raise Refusal.bad_request("invalid_value", text, "stream")
    if isinstance(source, Relay) and _says_nothing(source):
        await asyncio.shield(source.released)
        message, source = await find(response_id, desk)
    return _stream(message, source, after)


def _stream(message: Message, source: Source, after: int | None) -> PlainReply | Watch:
    has_tape = source is not None and (isinstance(source, Relay) or source.tape.end > 0)
    if source is None or not has_tape:
        return PlainReply(200, said_again(message, after), STREAM_HEADERS, "text/event-stream")
    try:
        position = source.tape.behind(0 if after is None else after + 1)
    except FallenBehindError:
        return _from_memory(message, source, after)
    if position is None:
        if isinstance(source, Relay) and source.ending is None:
            raise wrong("starting_after", "the sequence number of an event that has been sent")
        position = source.tape.end
    return Watch(source, position=position, holds=True)


def _from_memory(message: Message, source: Source, after: int | None) -> PlainReply | Watch:
    """The stream of a response so long that its beginning is no longer on the tape."""
    translation = translation_of(source)
    if translation is None or source is None or translation.final is not None:
        return PlainReply(200, said_again(message, after), STREAM_HEADERS, "text/event-stream")
    return Watch(source, said_so_far(translation, message, after), source.tape.end, holds=True)


def _says_nothing(relay: Relay) -> bool:
    """Whether its stream will stay empty: it was stopped, or refused, before it could begin."""
    return isinstance(relay.head, Refusal) or (relay.head is None and relay.generation.stop is not None)


async def delete(response_id: str, request: PlainRequest, desk: Desk) -> PlainReply:  # noqa: ARG001 a delete has no body
    """`DELETE`: stops what lives, then nothing is left of the response's text, in record and tape neither."""
    _, source = await find(response_id, desk)
    if isinstance(source, Relay):
        await desk.stop(response_id, dialect=NAME)
    if not await desk.delete_thread(desk.owner(NAME), response_id):
        raise Refusal.not_found()
    return PlainReply(200, json.dumps({"id": response_id, "object": "response", "deleted": True}).encode())
