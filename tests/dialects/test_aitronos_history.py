"""Threads of the dialect aitronos as the upstream's chat: what counts, what goes up."""

from typing import Any

import pytest

from proxy.core.conversation import Message, MessageStatus, Thread
from proxy.dialects.aitronos import history
from proxy.dialects.aitronos.request import Cut
from proxy.stores.conversations import Owner
from proxy.stores.conversations_memory import MemoryConversations

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


def test_cuts() -> None:
    """A cut takes away what is behind its message, or from it on; a later one works on what is left."""
    back = said("user", "c", content={"cut": history.cut_content(Cut("a", behind=True, field="previous_message_id"))})
    edit = said("user", "d", content={"cut": history.cut_content(Cut("a", behind=False, field="edit_message_id"))})
    messages = [said("user", "a"), said("assistant", "b"), back]
    assert [each.id for each in history.counting(messages)] == ["a", "c"]
    assert [each.id for each in history.counting([*messages, edit])] == ["d"]


async def test_long_threads() -> None:
    """A thread of several pages is read as a whole, in its order."""
    store = MemoryConversations()
    await store.add_thread(Thread("thrd_1", "key:acme", "aitronos", 1.0, 1.0))
    await store.add_messages(*(said("user", str(number)) for number in range(2 * history.PAGE + 1)))
    found = await history.load(store, OWNER, "thrd_1")
    assert [each.id for each in found] == [str(number) for number in range(2 * history.PAGE + 1)]
