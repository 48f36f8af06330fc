"""A thread's messages, and the upstream's chat made of them.

`content` of a message has what its text does not say: `chat`, the upstream's message; `cut`, from where on the messages
before it no longer count; `blocks`. Nothing is deleted by a cut, as in the original API.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final, Literal

from proxy.core.conversation import Message
from proxy.dialects.aitronos.request import Cut
from proxy.stores.conversations.port import Conversations, Outline, Owner, Window

MOST: Final = 10_000
"""Messages of a thread that are looked at; what is older no longer counts."""
PAST: Final = 500
PAST_CHARACTERS: Final = 1 << 20
"""So much of a thread goes upstream at the most, the newest of it. A model may read less, and says so itself."""
READ_BYTES: Final = 4 * PAST_CHARACTERS
"""So much is read for it: that many characters, whatever they are."""


class History:
    """A thread's messages in outline: all that count, without their texts until somebody needs them."""

    def __init__(self, conversations: Conversations, owner: Owner, thread_id: str, order: Sequence[Outline]) -> None:
        """`order`: of all messages, oldest first, whether they count or not."""
        self._conversations = conversations
        self._owner = owner
        self._thread_id = thread_id
        self._order = order
        self._places = {each.id: place for place, each in enumerate(order)}
        self.counting = counting(order)

    async def whole(
        self, wanted: Sequence[Outline], order: Literal["newest", "oldest"], most_bytes: int
    ) -> list[Message]:
        """Some of the messages, given oldest first, in the order asked for: as many from its beginning as fit, or one.

        Raises:
            LedgerUnavailableError: they can't be read now.
        """
        step = 1 if order == "oldest" else -1
        found: list[Message] = []
        for ids in self._adjacent(wanted[::step], step):
            before = self._places[ids[0]] - step
            cursor = self._order[before].id if 0 <= before < len(self._order) else None
            window = Window(len(ids), order, cursor, most_bytes=most_bytes)
            try:
                page, _ = await self._conversations.messages(self._owner, self._thread_id, window)
            except KeyError:  # it was deleted meanwhile
                break
            found += [message for message in page if message.id in ids]
            most_bytes -= sum(map(size, page))
            if len(page) < len(ids) or most_bytes <= 0:
                break
        return found

    def _adjacent(self, wanted: Sequence[Outline], step: int) -> list[list[str]]:
        """The ids, those together that stand side by side in the thread."""
        found: list[list[str]] = []
        for number, each in enumerate(wanted):
            if number and self._places[each.id] == self._places[wanted[number - 1].id] + step:
                found[-1].append(each.id)
            else:
                found.append([each.id])
        return found


async def read(conversations: Conversations, owner: Owner, thread_id: str) -> History:
    """A thread's history.

    Raises:
        LedgerUnavailableError: it can't be read now.
    """
    order, _ = await conversations.outline(owner, thread_id, MOST, "cut")
    return History(conversations, owner, thread_id, order)


async def load(
    conversations: Conversations, owner: Owner, thread_id: str, cut: Cut | None = None, *, keeps_question: bool = False
) -> list[Message]:
    """The messages of a thread that go upstream, oldest first: as many of the newest as the bounds allow, or one.

    Args:
        conversations: the store.
        owner: whose thread it is.
        thread_id: which one.
        cut: where it ends.
        keeps_question: the last thing that the user said is there in any case: its answer is not complete.

    Raises:
        KeyError: the cut's message is none that counts.
        LedgerUnavailableError: they can't be read now.
    """
    history = await read(conversations, owner, thread_id)
    counted = history.counting
    if cut is not None:
        if (place := place_of(counted, cut)) is None:
            raise KeyError(cut.message_id)
        counted = counted[:place]
    found = _fitting(await history.whole(counted[-PAST:], "newest", READ_BYTES))
    question = next((each for each in reversed(counted) if each.role == "user"), None) if keeps_question else None
    if question is not None and question.id not in [each.id for each in found]:
        asked = await conversations.find_message(owner, question.id)
        found += [] if asked is None else [asked]
    return found[::-1]


def _fitting(newest_first: Sequence[Message]) -> list[Message]:
    found: list[Message] = []
    room = PAST_CHARACTERS
    for message in newest_first:
        room -= size(message)
        if found and room < 0:
            break
        found.append(message)
    return found


def size(message: Message) -> int:
    """How many characters of a message go up, about."""
    has_chat = isinstance(message.content, dict) and "chat" in message.content
    return len(json.dumps(message.content["chat"], ensure_ascii=False)) if has_chat else len(message.text)


def counting(order: Sequence[Outline]) -> list[Outline]:
    """The messages that no later cut took away. A cut at a message that is not among them is older than all of them."""
    found: list[Outline] = []
    for message in order:
        if isinstance(message.mark, dict):
            del found[place_of(found, Cut(**message.mark)) or 0 :]
        found.append(message)
    return found


def place_of(messages: Sequence[Outline], cut: Cut) -> int | None:
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
