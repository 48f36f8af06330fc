"""The conversation before a response: the items of the responses that its `previous_response_id` leads back to."""

from typing import Any, Final

from proxy.core.conversation import Message, MessageStatus
from proxy.core.errors import Refusal
from proxy.dialects.responses.names import NAME
from proxy.engine.translating.desk import Desk
from proxy.stores.conversations.port import Window
from proxy.wire.responses_shapes import message_item, text_part

PAGE: Final = 500
MOST: Final = 1000
"""Responses that one conversation may have."""
MOST_CHARACTERS: Final = 20 * 2**20
"""Of what they say, images included: about as much as one request may bring."""


async def load(previous: str, desk: Desk) -> tuple[list[dict[str, Any]], int]:
    """The items, oldest first, and about how many characters they are.

    Instructions are no part of it: each response has its own.

    Raises:
        Refusal: 400, one of the responses is not there (any more), or is still being made; they are too many or large.
    """
    turns: list[list[dict[str, Any]]] = []
    at: str | None = previous
    room = MOST_CHARACTERS
    while at is not None:
        messages = await _messages(at, desk, room)
        answer = messages[-1] if messages else None
        if answer is None or answer.id != at:
            raise _lost(first=not turns)
        if answer.status is MessageStatus.IN_PROGRESS:
            raise _refused("the response is still being made; wait for its end, or cancel it")
        turns.append([*(message.content for message in messages[:-1]), *_output(answer)])
        if len(turns) > MOST:
            raise _refused(f"the conversation has more than {MOST} responses")
        room -= _size_of(turns[-1])
        at = answer.metadata["previous"]
    return [item for turn in reversed(turns) for item in turn], MOST_CHARACTERS - room


def _size_of(value: Any) -> int:
    """About how many characters items are: those of all texts in them."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, dict):
        return sum(map(_size_of, value.values()))
    return sum(map(_size_of, value)) if isinstance(value, list) else 0


async def _messages(response_id: str, desk: Desk, room: int) -> list[Message]:
    """All of a response's messages, if they fit: no page is larger than what is left."""
    found: list[Message] = []
    more = True
    while more:
        after = found[-1].id if found else None
        window = Window(PAGE, "oldest", after, most_bytes=max(room, 1))
        page, more = await desk.conversations.messages(desk.owner(NAME), response_id, window)
        found += page
        room -= sum(_size_of(message.content) for message in page)
        if room < 0:
            raise _refused(f"the conversation has more than {MOST_CHARACTERS} characters")
    return found


def _output(answer: Message) -> list[dict[str, Any]]:
    """What a model may be told of its answer: texts as far as they came, calls that are whole, no reasoning."""
    if answer.content is None:
        return [message_item(answer.id, [text_part(answer.text)], "incomplete")] if answer.text else []
    output: list[dict[str, Any]] = answer.content["output"]
    return [item for item in output if _is_told(item)]


def _is_told(item: dict[str, Any]) -> bool:
    return bool(item["type"] == "message" or (item["type"] == "function_call" and item["status"] == "completed"))


def _lost(*, first: bool) -> Refusal:
    which = "this id" if first else "an id that this one leads back to"
    return Refusal.bad_request(
        "previous_response_not_found", f"Previous response with {which} not found.", "previous_response_id"
    )


def _refused(why: str) -> Refusal:
    return Refusal.bad_request("invalid_value", f"Invalid 'previous_response_id': {why}.", "previous_response_id")
