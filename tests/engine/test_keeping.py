"""Keeping: what waits for a message to be put in, and what becomes of one that has no generation."""

import asyncio
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from proxy.core.conversation import Item, Message, MessageStatus, Thread
from proxy.core.errors import Refusal
from proxy.engine.tasks import Tasks
from proxy.engine.translating.keeping import Keeping
from proxy.engine.translating.translation import Kept, Stored
from proxy.stores.conversations.memory import MemoryConversations
from proxy.stores.conversations.port import Owner, Window
from proxy.stores.ledger.port import LedgerUnavailableError

OWNER = Owner("key:acme", "any")
DONE = Stored(MessageStatus.COMPLETED, "All of it.")


class SlowStore(MemoryConversations):
    """A store that puts messages in when it is let to, and deletes when it can."""

    def __init__(self) -> None:
        super().__init__()
        self.go = asyncio.Event()
        self.deletes = True
        self.refused = 0
        """So many changes of items, the next ones, can't be written."""

    async def add_messages(self, *messages: Message) -> bool:
        """Put messages in, when it may."""
        await self.go.wait()
        return await super().add_messages(*messages)

    async def delete_messages(self, owner: Owner, *message_ids: str) -> list[str]:
        """Delete messages, if it can."""
        if not self.deletes:
            raise LedgerUnavailableError("not now")
        return await super().delete_messages(owner, *message_ids)

    async def update_item(self, *args: Any, **values: Any) -> bool:
        """Change an item, if it can."""
        if self.refused:
            self.refused -= 1
            raise LedgerUnavailableError("not now")
        return await super().update_item(*args, **values)


def an_answer(message_id: str = "m-1", thread_id: str | None = None) -> Message:
    """A message that grows."""
    facts: dict[str, Any] = {"status": MessageStatus.IN_PROGRESS, "thread_id": thread_id, "content": {"query": "q"}}
    return Message(message_id, "key:acme", "any", "assistant", 1.0, **facts)


def an_item(name: str, *, status: str, is_open: bool = True) -> Item:
    """An item that says where it is."""
    return Item(name, "key:acme", "any", "run", 1.0, {"status": status}, is_open=is_open)


def a_relay(kept: Kept, uid: str = "u-1") -> Any:
    """What keeping sees of a relay."""
    facts = SimpleNamespace(uid=uid)
    return SimpleNamespace(plan=SimpleNamespace(kept=kept), generation=SimpleNamespace(facts=facts), wall=lambda: 2.0)


def started(error: Exception | None = None) -> "asyncio.Future[None]":
    """A START that is on disk, or failed."""
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)
    return future


async def test_text_and_end_wait_for_the_message() -> None:
    """Pieces that come before the message is in go in behind it, in their order, and so does its end."""
    store, tasks = SlowStore(), Tasks()
    keeping, kept = Keeping(store, tasks), Kept(an_answer())
    relay = a_relay(kept)
    ready = keeping.put_in(kept, "u-1", started())
    keeping.append(relay, "All ")
    keeping.append(relay, "of ")
    store.go.set()
    await ready
    keeping.append(relay, "it.")
    found = await store.find_message(OWNER, "m-1")
    assert found is not None
    assert (found.text, found.status, found.generation) == ("All of it.", MessageStatus.IN_PROGRESS, "u-1")
    ending = tasks.start(keeping.end(relay, kept, DONE), "end")
    await asyncio.sleep(0)
    keeping.let_go("u-1")
    await ending
    found = await store.find_message(OWNER, "m-1")
    assert found is not None
    assert found.status is MessageStatus.COMPLETED


@pytest.mark.parametrize("has_thread", [False, True], ids=["alone", "thread"])
async def test_failed_start_takes_all_back(has_thread: bool) -> None:
    """Messages, and a new thread, go when the START failed; an end is none then."""
    store, tasks = SlowStore(), Tasks()
    store.go.set()
    keeping = Keeping(store, tasks)
    thread = Thread("c-1", "key:acme", "any", 1.0, 1.0) if has_thread else None
    kept = Kept(an_answer(thread_id="c-1" if has_thread else None), thread=thread)
    ready = keeping.put_in(kept, "u-1", started(LedgerUnavailableError("late")))
    await keeping.end(a_relay(kept), kept, DONE)
    with pytest.raises(LedgerUnavailableError):
        await ready
    assert await store.find_message(OWNER, "m-1") is None
    assert await store.threads(OWNER, Window()) == ([], False)


async def test_failed_start_takes_new_items_back() -> None:
    """An item that came with the call goes when the START failed; one that was there before stays."""
    store, tasks = SlowStore(), Tasks()
    store.go.set()
    before, new = (Item(name, "key:acme", "any", "run", 1.0, {}, is_open=True) for name in ("r-1", "r-2"))
    await store.add_items(before)
    ready = Keeping(store, tasks).put_in(
        Kept(an_answer(), items=(before, new)), "u-1", started(LedgerUnavailableError("late"))
    )
    await tasks.finish()
    assert ready.exception() is not None
    assert [await store.find_item(OWNER, "run", name) for name in ("r-1", "r-2")] == [before, None]


@pytest.mark.parametrize("refused", [0, 2])
async def test_failed_start_ends_what_it_changed(refused: int) -> None:
    """Items that were there before a call whose START failed say what became of them; new ones stay away."""
    store, tasks = SlowStore(), Tasks()
    store.refused = refused
    store.go.set()
    run, step, new = (an_item(name, status="waits") for name in ("run", "step", "new"))
    await store.add_items(run, step)
    keeping = Keeping(store, tasks)
    kept = Kept(an_answer(), items=(an_item("step", status="done", is_open=False), run, new))
    keeping.put_in(kept, "u-1", started(LedgerUnavailableError("late")))
    over = [an_item(name, status="failed", is_open=False) for name in ("run", "new")]
    await keeping.end(a_relay(kept), kept, replace(DONE, items=(*over,)))
    found = [await store.find_item(OWNER, "run", name) for name in ("run", "step", "new")]
    assert found == [over[0], an_item("step", status="done", is_open=False), None]


async def test_what_can_not_be_taken_back_is_ended() -> None:
    """A message that can be neither kept nor deleted does not stay in progress."""
    store, tasks = SlowStore(), Tasks()
    store.go.set()
    store.deletes = False
    keeping, kept = Keeping(store, tasks), Kept(an_answer())
    ready = keeping.put_in(kept, "u-1", started(LedgerUnavailableError("late")))
    await tasks.finish()
    assert ready.exception() is not None
    found = await store.find_message(OWNER, "m-1")
    assert found is not None
    assert (found.status, found.content) == (MessageStatus.FAILED, {"query": "q"})


async def test_id_in_use() -> None:
    """A call with an id that is taken leaves the message alone that has it: its text, its end, and itself."""
    store, tasks = SlowStore(), Tasks()
    store.go.set()
    keeping = Keeping(store, tasks)
    first, second = Kept(an_answer()), Kept(an_answer())
    await keeping.put_in(first, "u-1", started())
    ready = keeping.put_in(second, "u-2", started())
    relay = a_relay(second, "u-2")
    keeping.append(relay, "not its own")
    await keeping.end(relay, second, DONE)
    keeping.append(relay, "not its own either")
    assert await keeping.drop(relay, second, ["m-1"]) == []
    with pytest.raises(Refusal):
        await ready
    found = await store.find_message(OWNER, "m-1")
    assert found is not None
    assert (found.text, found.status, found.generation) == ("", MessageStatus.IN_PROGRESS, "u-1")
