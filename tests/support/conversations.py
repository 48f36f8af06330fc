"""Threads, messages and items for the tests of the conversation store."""

from typing import Any, Final

from proxy.core.conversation import Item, Message, MessageStatus, Thread
from proxy.stores.conversations.port import Conversations, Owner, Window

OWNER: Final = Owner("acme", "dify")
ALL: Final = Window(limit=1000, order="oldest")

EVERY_JSON: Final[dict[str, Any]] = {
    "null": None,
    "yes": True,
    "no": False,
    "int": 2**70,
    "float": -1.5e-300,
    "text": 'a"b\\c\n\0\u2028\ud7ff\U0001f600',
    "list": [[], {}, [None, [1]]],
    "": {"ä\0": {"deep": [1, "x"]}},
}

WINDOWS: Final = [
    (Window(), "edcba", False),
    (Window(limit=5), "edcba", False),
    (Window(limit=2), "ed", True),
    (Window(limit=0), "", True),
    (Window(limit=-3), "", True),
    (Window(limit=2**80), "edcba", False),
    (Window(limit=2, after="d"), "cb", True),
    (Window(limit=2, after="c"), "ba", False),
    (Window(after="a"), "", False),
    (Window(before="e"), "", False),
    (Window(before="c"), "ed", False),
    (Window(limit=2, before="b"), "dc", True),
    (Window(limit=3, before="b"), "edc", False),
    (Window(limit=1, after="e", before="b"), "d", True),
    (Window(limit=2, after="e", before="b"), "dc", False),
    (Window(after="b", before="d"), "", False),
    (Window(order="oldest"), "abcde", False),
    (Window(order="oldest", limit=2, after="b"), "cd", True),
    (Window(order="oldest", limit=2, before="d"), "bc", True),
    (Window(order="oldest", after="a", before="d"), "bc", False),
]
"""What each window shows of the list that is `abcde`, oldest first, and whether there is more."""


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


def an_item(item_id: str = "r1", kind: str = "run", **facts: Any) -> Item:
    """An item of `OWNER`'s, below nothing and in no thread."""
    known: dict[str, Any] = {
        "id": item_id,
        "identity": OWNER.identity,
        "dialect": OWNER.dialect,
        "kind": kind,
        "created_at": 1000.0,
        "body": {"of": item_id},
    }
    return Item(**(known | facts))


async def listed(store: Conversations, kind: str = "run", parent: str | None = None, owner: Owner = OWNER) -> list[str]:
    """The ids of the items of one kind and parent, in their order."""
    found, _ = await store.items(owner, kind, parent, ALL)
    return [item.id for item in found]


async def in_thread(store: Conversations, thread_id: str = "t1") -> list[str]:
    """The ids of a thread's messages, in their order."""
    found, _ = await store.messages(OWNER, thread_id, ALL)
    return [message.id for message in found]


async def text_of(store: Conversations, message_id: str = "m1") -> str | None:
    """The text of a message; None if there is no such message."""
    found = await store.find_message(OWNER, message_id)
    return None if found is None else found.text
