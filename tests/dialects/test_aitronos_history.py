"""Threads of the dialect aitronos as the upstream's chat: what counts, what goes up."""

from typing import Any

import pytest

from proxy.core.conversation import Message, MessageStatus, Thread
from proxy.dialects.aitronos import history
from proxy.dialects.aitronos.request import Cut
from proxy.stores.conversations.memory import MemoryConversations
from proxy.stores.conversations.port import Outline, Owner

OWNER = Owner("key:acme", "aitronos")


def said(role: str, text: str = "", **facts: Any) -> Message:
    """A message; its id is its text."""
    return Message(text or role, "key:acme", "aitronos", role, 1.0, thread_id="thrd_1", text=text, **facts)


def calling(*ids: str) -> Message:
    """An answer that calls tools."""
    calls = [{"id": each, "type": "function", "function": {"name": "f", "arguments": "{}"}} for each in ids]
    return said("assistant", content={"chat": {"role": "assistant", "content": None, "tool_calls": calls}})


def result(call_id: str) -> Message:
    """The result of a tool."""
    return said("tool", "r", content={"chat": {"role": "tool", "content": "r", "tool_call_id": call_id}})


def shape(messages: list[Message]) -> list[Any]:
    """What goes up: roles, with the ids of calls and results."""
    found: list[Any] = []
    for chat in history.upstream_messages(messages):
        ids = [call["id"] for call in chat.get("tool_calls", ())] or chat.get("tool_call_id")
        found.append((chat["role"], ids) if ids else chat["role"])
    return found


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ([calling("a", "b"), result("a"), result("b")], [("assistant", ["a", "b"]), ("tool", "a"), ("tool", "b")]),
        ([calling("a", "b"), result("b")], [("assistant", ["b"]), ("tool", "b")]),
        ([calling("a"), result("a"), result("a")], [("assistant", ["a"]), ("tool", "a")]),
        ([calling("a"), said("user", "x"), result("a")], ["user"]),
        ([result("a")], []),
        ([said("user", "x"), said("assistant", status=MessageStatus.FAILED)], ["user"]),
    ],
    ids=["all", "some", "twice", "too late", "alone", "empty answer"],
)
def test_calls_and_results(messages: list[Message], expected: list[Any]) -> None:
    """Only calls with their results go up, each once, and no answer that came to nothing."""
    assert shape(messages) == expected


def outlined(message_id: str, cut: Cut | None = None) -> Outline:
    """A message in outline."""
    mark = None if cut is None else history.cut_content(cut)
    return Outline(message_id, "user", MessageStatus.COMPLETED, 1.0, is_nothing=False, mark=mark)


def test_cuts() -> None:
    """A cut takes away what is behind its message, or from it on; a later one works on what is left."""
    back = outlined("c", Cut("a", behind=True, field="previous_message_id"))
    edit = outlined("d", Cut("a", behind=False, field="edit_message_id"))
    lost = outlined("e", Cut("long gone", behind=True, field="previous_message_id"))
    messages = [outlined("a"), outlined("b"), back]
    assert [each.id for each in history.counting(messages)] == ["a", "c"]
    assert [each.id for each in history.counting([*messages, edit])] == ["d"]
    assert [each.id for each in history.counting([*messages, lost])] == ["e"]


async def stored(*messages: Message) -> MemoryConversations:
    """A store with one thread."""
    store = MemoryConversations(most=50_000)
    await store.add_thread(Thread("thrd_1", "key:acme", "aitronos", 1.0, 1.0))
    await store.add_messages(*messages)
    return store


def ids(messages: list[Message]) -> list[str]:
    """The ids of messages."""
    return [each.id for each in messages]


async def test_long_threads() -> None:
    """Of a long thread the newest messages go up, in their order."""
    store = await stored(*(said("user", str(number)) for number in range(2 * history.PAST + 1)))
    found = await history.load(store, OWNER, "thrd_1")
    assert ids(found) == [str(number) for number in range(history.PAST + 1, 2 * history.PAST + 1)]


async def test_large_threads() -> None:
    """No more than a mebibyte of text goes up, but the newest message in any case; no more is read for it by far."""
    third = history.PAST_CHARACTERS // 3
    store = await stored(
        *(
            Message(f"m{n}", "key:acme", "aitronos", "user", 1.0, thread_id="thrd_1", text="\u20ac" * third)
            for n in range(9)
        )
    )
    assert ids(await history.load(store, OWNER, "thrd_1")) == ["m6", "m7", "m8"]
    huge = Message("m9", "key:acme", "aitronos", "user", 1.0, thread_id="thrd_1", text="x" * (6 * third))
    await store.add_messages(huge)
    assert ids(await history.load(store, OWNER, "thrd_1")) == ["m9"]
    await store.add_messages(said("assistant", "a"))
    assert ids(await history.load(store, OWNER, "thrd_1")) == ["a"]
    assert ids(await history.load(store, OWNER, "thrd_1", keeps_question=True)) == ["m9", "a"]


async def test_cut_far_back() -> None:
    """What goes up ends at a cut, and what a cut took away is neither counted nor read, however far back it began."""
    back = {"cut": history.cut_content(Cut("2", behind=True, field="previous_message_id"))}
    fillers = [said("user", f"f{number}") for number in range(3 * history.PAST)]
    store = await stored(
        *(said("user", str(n)) for n in range(5)), *fillers, said("user", "x", content=back), said("user", "y")
    )
    assert ids(await history.load(store, OWNER, "thrd_1")) == ["0", "1", "2", "x", "y"]
    edit = Cut("2", behind=False, field="edit_message_id")
    assert ids(await history.load(store, OWNER, "thrd_1", edit)) == ["0", "1"]
    for gone in ("4", "f7", "unknown"):
        with pytest.raises(KeyError):
            await history.load(store, OWNER, "thrd_1", Cut(gone, behind=True, field="previous_message_id"))


async def test_some_of_a_thread() -> None:
    """Some messages are read in either order, over gaps, as far as they fit."""
    store = await stored(*(said("user", each) for each in "abcdefg"))
    found = await history.read(store, OWNER, "thrd_1")
    wanted = [each for each in found.counting if each.id not in "cdf"]
    assert ids(await found.whole(wanted, "oldest", 1000)) == ["a", "b", "e", "g"]
    assert ids(await found.whole(wanted, "newest", 1000)) == ["g", "e", "b", "a"]
    assert ids(await found.whole(wanted, "oldest", 5)) == ["a"]
    await store.delete_messages(OWNER, "f")
    assert ids(await found.whole(wanted, "newest", 1000)) == ["g"]
