"""A thread's messages, and the upstream's chat made of them.

`content` of a message has what its text does not say: `chat`, the upstream's message; `cut`, from where on the messages
before it no longer count; `blocks`. Nothing is deleted by a cut, as in the original API.
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final

from proxy.core.conversation import Message, MessageStatus
from proxy.dialects.aitronos.request import Cut
from proxy.stores.conversations import Conversations, Owner, Window

PAGE: Final = 500
MOST: Final = 20
"""Pages of a thread that are read at the most; what is older no longer counts."""


async def load(conversations: Conversations, owner: Owner, thread_id: str) -> list[Message]:
    """The messages of a thread that count, oldest first.

    Raises:
        LedgerUnavailableError: they can't be read now.
    """
    found: list[Message] = []
    for _ in range(MOST):
        after = found[-1].id if found else None
        page, more = await conversations.messages(owner, thread_id, Window(PAGE, "newest", after))
        found += page
        if not more:
            break
    return counting(found[::-1])


def counting(messages: Sequence[Message]) -> list[Message]:
    """The messages that no later cut took away."""
    found: list[Message] = []
    for message in messages:
        cut = message.content.get("cut") if isinstance(message.content, dict) else None
        if isinstance(cut, dict):
            place = place_of(found, Cut(**cut))
            del found[len(found) if place is None else place :]
        found.append(message)
    return found


def place_of(messages: Sequence[Message], cut: Cut) -> int | None:
    """Where a cut goes: how many messages stay. None: its message is not among them."""
    for number, message in enumerate(messages):
        if message.id == cut.message_id:
            return number + 1 if cut.behind else number
    return None


def cut_content(cut: Cut) -> dict[str, Any]:
    """A cut as it is kept."""
    return asdict(cut)


def chat_of(message: Message) -> dict[str, Any]:
    """A message as the upstream takes it."""
    chat = message.content.get("chat") if isinstance(message.content, dict) else None
    return dict(chat) if isinstance(chat, dict) else {"role": message.role, "content": message.text}


def calls_of(message: Message) -> list[str]:
    """The ids of the tools that an answer calls."""
    return [call["id"] for call in chat_of(message).get("tool_calls", ())]


def upstream_messages(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """The chat: without empty answers, and without calls of tools that nobody answered, which no upstream takes."""
    found: list[dict[str, Any]] = []
    for number, message in enumerate(messages):
        chat = chat_of(message)
        if message.role == "tool":
            if found and _takes(found, chat["tool_call_id"]):
                found.append(chat)
            continue
        if calls := chat.pop("tool_calls", None):
            results = _results_behind(messages, number)
            if answered := [call for call in calls if call["id"] in results]:
                chat["tool_calls"] = answered
        if chat["content"] or "tool_calls" in chat or message.role == "user":
            found.append(chat)
    return found


def _results_behind(messages: Sequence[Message], number: int) -> set[str]:
    found: set[str] = set()
    for message in messages[number + 1 :]:
        if message.role != "tool":
            break
        found.add(chat_of(message)["tool_call_id"])
    return found


def _takes(found: Sequence[dict[str, Any]], call_id: str) -> bool:
    """Whether the last answer calls a tool by this id, and has no result of it yet."""
    for chat in reversed(found):
        if chat["role"] == "tool":
            if chat["tool_call_id"] == call_id:
                return False
            continue
        return any(call["id"] == call_id for call in chat.get("tool_calls", ()))
    return False


def waits_for(messages: Sequence[Message]) -> Message | None:
    """The answer whose calls of tools are still to be answered: the last message, if it has any."""
    last = messages[-1] if messages else None
    return last if last is not None and last.role == "assistant" and calls_of(last) else None


def is_shown(message: Message) -> bool:
    """Whether a message is worth showing: an answer that came to nothing is not."""
    return message.status is not MessageStatus.FAILED or bool(message.text)
