"""Threads and messages for the tests of the conversation store."""

from typing import Any, Final

from proxy.core.conversation import Message, MessageStatus, Thread
from proxy.stores.conversations import Conversations, Owner, Window

OWNER: Final = Owner("acme", "dify")
ALL: Final = Window(limit=1000, order="oldest")


def a_thread(thread_id: str = "t1", **facts: Any) -> Thread:
    """A thread of `OWNER`'s."""
    known: dict[str, Any] = {
        "id": thread_id,
        "identity": OWNER.identity,
        "dialect": OWNER.dialect,
        "created_at": 1000.0,
        "updated_at": 1000.0,
    }
    return Thread(**(known | facts))


def a_message(message_id: str = "m1", thread_id: str | None = "t1", **facts: Any) -> Message:
    """A message of `OWNER`'s, complete, in a thread."""
    known: dict[str, Any] = {
        "id": message_id,
        "identity": OWNER.identity,
        "dialect": OWNER.dialect,
        "role": "user",
        "created_at": 1000.0,
        "thread_id": thread_id,
    }
    return Message(**(known | facts))


def begun(message_id: str = "m1", thread_id: str | None = "t1", **facts: Any) -> Message:
    """A message of `OWNER`'s that is being made."""
    known: dict[str, Any] = {"role": "assistant", "status": MessageStatus.IN_PROGRESS}
    return a_message(message_id, thread_id, **(known | facts))


async def in_thread(store: Conversations, thread_id: str = "t1") -> list[str]:
    """The ids of a thread's messages, in their order."""
    found, _ = await store.messages(OWNER, thread_id, ALL)
    return [message.id for message in found]


async def text_of(store: Conversations, message_id: str = "m1") -> str | None:
    """The text of a message; None if there is no such message."""
    found = await store.find_message(OWNER, message_id)
    return None if found is None else found.text
