"""A response as the conversation store has it: found again, shown, and its stream said again event for event."""

from typing import Any, Final

from proxy.core.conversation import Message, MessageStatus
from proxy.core.deltas import Delta, DeltaKind
from proxy.core.errors import Refusal
from proxy.core.sse import slices
from proxy.dialects.responses.draft import Draft
from proxy.dialects.responses.names import NAME
from proxy.dialects.responses.parts import deltas_of
from proxy.dialects.responses.translation import ResponseTranslation
from proxy.engine.relaying.finished import Finished
from proxy.engine.relaying.relay import Relay
from proxy.engine.translating.desk import Desk

INTERRUPTED: Final = {
    "code": "server_error",
    "message": "The server stopped while this response was being made. What there is of it was kept.",
}

Source = Relay | Finished | None


async def find(response_id: str, desk: Desk) -> tuple[Message, Source]:
    """The caller's response, and what is left of the generation that makes or made it.

    Raises:
        Refusal: 404, the caller has none with this id that was to be stored.
    """
    owner, store = desk.owner(NAME), desk.conversations
    message = await store.find_message(owner, response_id)
    if message is None and (arriving := live(response_id, desk)) is not None and arriving.plan.kept is not None:
        await arriving.start_on_disk()
        message = await store.find_message(owner, response_id)
    if message is None or message.generation is None or message.thread_id != response_id:
        raise Refusal.not_found()
    source = desk.generation(message.generation)
    if message.status is MessageStatus.IN_PROGRESS and not isinstance(source, Relay):  # it ended just now
        message = await store.find_message(owner, response_id)
        if message is None:
            raise Refusal.not_found()
    return message, source


def live(response_id: str, desk: Desk) -> Relay | None:
    """The caller's response with this id that is being made now."""
    found = desk.find(response_id)
    is_it = isinstance(found, Relay) and found.plan.message_id == response_id and translation_of(found) is not None
    return found if is_it and isinstance(found, Relay) else None


def translation_of(source: Source) -> ResponseTranslation | None:
    """What makes a live response."""
    found = source.plan.translation if isinstance(source, Relay) else None
    return found if isinstance(found, ResponseTranslation) else None


def shown(message: Message, source: Source) -> dict[str, Any]:
    """The response object, as of now."""
    translation = translation_of(source)
    if message.status is MessageStatus.IN_PROGRESS and translation is not None:
        return translation.final or translation.draft.object()
    draft = _draft(message)
    if "end" in message.metadata:
        return {**draft.object(), **_end_of(message)}
    _interrupted(draft, message)
    if message.status is not MessageStatus.IN_PROGRESS:  # else another replica makes it
        _failed(draft)
    return draft.object()


def said_again(message: Message, after: int | None) -> bytes:
    """The events of a response that nobody works on, those behind number `after`; the same as they were the first time.

    Of one whose process died nobody knows how its text came: there it is one event, and a reader that has had more
    gets the end alone.
    """
    draft = _draft(message)
    if "end" in message.metadata:
        return behind(_ended(draft, message), after)
    said = _interrupted(draft, message)
    if after is None or draft.number > after:
        return behind(said + _failed(draft), after)
    draft.number = after + 1
    return _failed(draft)


def said_so_far(translation: ResponseTranslation, message: Message, after: int | None) -> bytes:
    """The same for a response that is being made, of whose stream the beginning is no longer kept."""
    draft, made = _draft(message), translation.draft
    said = draft.begin() + draft.answered() + draft.said_again(made.log, made.pieces())
    return behind(said, after)


def behind(said: bytes, after: int | None) -> bytes:
    """The events of a whole stream behind number `after`, which counts from 0."""
    if after is None:
        return said
    position = 0
    for number, (raw, _) in enumerate(slices(said)):
        if number > after:
            break
        position += len(raw)
    return said[position:]


def _draft(message: Message) -> Draft:
    kept = message.metadata
    return Draft(message.id, kept["model"], kept["created_at"], kept["shown"])


def _end_of(message: Message) -> dict[str, Any]:
    """The fields of a response that has ended, beside those that it had from its start."""
    end = message.metadata["end"]
    return {"status": end["status"], "output": message.content["output"], **end["fields"]}


def _ended(draft: Draft, message: Message) -> bytes:
    """Everything that the stream said."""
    end = message.metadata["end"]
    said = draft.begin() + (draft.answered() if end["answered"] else b"")
    said += draft.said_again(end["log"], deltas_of(message.content["output"]))
    return said + draft.finish(end["status"], **end["fields"])


def _interrupted(draft: Draft, message: Message) -> bytes:
    """What is known of a stream whose process died, without its end."""
    said = draft.begin() + draft.answered()
    return said + draft.add(Delta(DeltaKind.TEXT, message.text))


def _failed(draft: Draft) -> bytes:
    return draft.finish("failed", None, error=INTERRUPTED)
