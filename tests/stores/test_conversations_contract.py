"""What every conversation store must do; run over each implementation."""

import asyncio
import math
from dataclasses import replace
from typing import Any

import pytest

from proxy.core.conversation import MessageStatus, Thread
from proxy.stores.conversations.port import Conversations, Owner, Window
from support.conversations import ALL, EVERY_JSON, OWNER, WINDOWS, a_message, a_thread, begun, in_thread, text_of
from support.wait import PATIENCE

STRANGERS = [Owner("other", "dify"), Owner("acme", "assistants"), Owner("acme", "dify", "bob")]


async def until_text(store: Conversations, text: str, message_id: str = "m1") -> None:
    """Wait until that much of a message's text is to be seen."""
    async with asyncio.timeout(PATIENCE):
        while await text_of(store, message_id) != text:
            await store.update_thread(OWNER, "none", updated_at=0.0)  # goes to the disk behind the pieces


async def test_a_thread_comes_back_as_it_was_put_in(store: Conversations) -> None:
    """Every field survives, metadata with all that JSON has."""
    thread = a_thread("t\0é", user="ann", name="Name \U0001f600", metadata=EVERY_JSON, updated_at=1000.25)
    assert await store.add_thread(thread)
    assert await store.find_thread(OWNER, "t\0é") == thread
    assert await store.find_thread(OWNER, "t") is None


async def test_a_message_comes_back_as_it_was_put_in(store: Conversations) -> None:
    """Every field survives, in a thread and without one; content may be any JSON value."""
    await store.add_thread(a_thread())
    full = a_message(
        user="ann",
        ended_at=1001.5,
        status=MessageStatus.FAILED,
        text="a\0b\U0001f600",
        content=EVERY_JSON,
        generation="g1",
        metadata=EVERY_JSON,
    )
    plain = a_message("m2", None)
    odd = [a_message(f"c{number}", content=value) for number, value in enumerate([[], "", 0, False, "x", [EVERY_JSON]])]
    assert await store.add_messages(full, plain, *odd)
    for message in (full, plain, *odd):
        assert await store.find_message(OWNER, message.id) == message


async def test_what_the_caller_does_later_changes_nothing(store: Conversations) -> None:
    """Neither what was put in nor what came out is shared with the store."""
    metadata: dict[str, Any] = {"list": [1]}
    await store.add_thread(a_thread(metadata=metadata))
    await store.add_messages(a_message(metadata=metadata, content=metadata))
    metadata["list"].append(2)
    for _ in range(2):
        thread, message = await store.find_thread(OWNER, "t1"), await store.find_message(OWNER, "m1")
        assert thread is not None
        assert message is not None
        assert [thread.metadata, message.metadata, message.content] == [{"list": [1]}] * 3
        for found in (thread.metadata, message.metadata, message.content):
            found["list"].append(3)


async def test_what_no_database_takes_is_made_harmless(store: Conversations) -> None:
    """Lone surrogates become U+FFFD, NaN and infinities null, everywhere; and all is found by the same names."""
    bad, value = "a\ud800b", {"x\udfff": [math.nan, math.inf, -math.inf, "\ud800"]}
    owner = Owner(bad, bad, bad)
    thread = Thread(bad, bad, bad, 1.0, math.nan, bad, bad, value)
    assert await store.add_thread(thread)
    message = replace(begun(bad, bad), identity=bad, dialect=bad, user=bad, role=bad, content=value, generation=bad)
    assert await store.add_messages(message)
    store.append(owner, bad, bad)
    assert await store.update_message(owner, bad, metadata=value)
    assert await store.update_thread(owner, bad, updated_at=2.0, name=bad, metadata=value)
    good = {"x\ufffd": [None, None, None, "\ufffd"]}
    found_thread = await store.find_thread(owner, bad)
    assert found_thread is not None
    assert (found_thread.name, found_thread.metadata) == ("a\ufffdb", good)
    assert await store.end_message(
        owner, bad, MessageStatus.COMPLETED, ended_at=3.0, text=bad, content=value, metadata=value
    )
    (found,), _ = await store.messages(owner, bad, Window(after=None))
    assert (found.text, found.content, found.metadata, found.generation) == ("a\ufffdb", good, good, "a\ufffdb")
    assert await store.delete_messages(owner, bad) == ["a\ufffdb"]
    assert await store.delete_thread(owner, bad) == []


async def test_a_value_that_is_no_json_harms_nobody(store: Conversations) -> None:
    """It is refused before anything is queued; the store goes on."""
    with pytest.raises(TypeError):
        await store.add_thread(a_thread(metadata={"x": object()}))
    with pytest.raises(TypeError):
        await store.add_messages(a_message(thread_id=None), a_message("m2", None, content=object()))
    assert await store.find_message(OWNER, "m1") is None
    assert await store.add_thread(a_thread())


async def test_an_id_is_taken_once_for_each_owner_and_dialect(store: Conversations) -> None:
    """A second thread or message with an id is refused, also another user's; the first one stays as it was."""
    thread, message = a_thread(user="ann", name="first"), a_message("m1", None, text="first")
    assert await store.add_thread(thread)
    assert await store.add_messages(message)
    assert not await store.add_thread(replace(thread, user="bob", name="second"))
    assert not await store.add_messages(replace(message, user="bob", text="second"))
    others: list[dict[str, Any]] = [{"identity": "other"}, {"dialect": "assistants"}]
    for other in others:
        assert await store.add_thread(replace(thread, **other, name="other"))
        assert await store.add_messages(replace(message, **other, text="other"))
    assert await store.find_thread(OWNER, "t1") == thread
    assert await store.find_message(OWNER, "m1") == message


@pytest.mark.parametrize("place", [0, 1, 2])
async def test_messages_go_in_all_or_none(store: Conversations, place: int) -> None:
    """If one of the ids is taken, or comes twice, or a thread is not there, none of them is put in."""
    await store.add_thread(a_thread())
    assert await store.add_messages(begun("taken"))
    store.append(OWNER, "taken", "text")
    for wrong in (a_message("taken"), begun("taken"), a_message("a"), a_message("lost", "t9")):
        group = [begun("a"), begun("b")]
        group.insert(place, wrong)
        assert not await store.add_messages(*group)
    store.append(OWNER, "a", "text")
    store.append(OWNER, "taken", " more")
    await until_text(store, "text more", "taken")
    assert await in_thread(store) == ["taken"]
    assert await store.add_messages(begun("a"), begun("b"))
    assert await text_of(store, "a") == ""
    assert await store.add_messages()


async def test_the_order_of_messages_is_that_of_their_insertion(store: Conversations) -> None:
    """Neither time nor id counts; and what is deleted leaves no gap for later ones."""
    await store.add_thread(a_thread())
    await store.add_messages(a_message("z", created_at=9.0), a_message("y", created_at=8.0), a_message("x"))
    await store.delete_messages(OWNER, "x")
    await store.add_messages(a_message("b", created_at=1.0), a_message("a", created_at=2.0))
    assert await in_thread(store) == ["z", "y", "b", "a"]


@pytest.mark.parametrize("stranger", STRANGERS)
async def test_somebody_elses_look_like_unknown_ones(store: Conversations, stranger: Owner) -> None:
    """Another caller, dialect or user finds, changes, ends and deletes nothing, and can't see where a list is."""
    thread, message = a_thread(user="ann"), begun(user="ann", generation="g")
    await store.add_thread(thread)
    await store.add_messages(message)
    assert await store.find_thread(stranger, "t1") is None
    assert await store.find_message(stranger, "m1") is None
    assert await store.threads(stranger, ALL) == ([], False)
    assert await store.messages(stranger, "t1", ALL) == ([], False)
    for window in (Window(after="t1"), Window(before="t1")):
        with pytest.raises(KeyError):
            await store.threads(stranger, window)
    for window in (Window(after="m1"), Window(before="m1")):
        with pytest.raises(KeyError):
            await store.messages(stranger, "t1", window)
    assert not await store.update_thread(stranger, "t1", updated_at=2.0, name="x")
    assert not await store.update_message(stranger, "m1", metadata={"x": 1})
    assert not await store.end_message(stranger, "m1", MessageStatus.CANCELLED, ended_at=2.0, text="x")
    store.append(stranger, "m1", "strange")
    assert await store.delete_messages(stranger, "m1") == []
    assert await store.delete_thread(stranger, "t1") is None
    store.append(Owner("acme", "dify", "ann"), "m1", "own")
    await until_text(store, "own")
    assert await store.find_thread(OWNER, "t1") == thread
    assert await store.find_message(Owner("acme", "dify", "ann"), "m1") == replace(message, text="own")


async def test_a_user_sees_the_own_threads_only(store: Conversations) -> None:
    """With a user a list has that user's threads, without one the caller's of any user."""
    for thread_id, user in (("t1", "ann"), ("t2", "bob"), ("t3", None), ("t4", "ann")):
        await store.add_thread(a_thread(thread_id, user=user))
    for user, ids in ((None, ["t1", "t2", "t3", "t4"]), ("ann", ["t1", "t4"]), ("", [])):
        found, more = await store.threads(Owner("acme", "dify", user), ALL)
        assert ([thread.id for thread in found], more) == (ids, False)


@pytest.mark.parametrize(("window", "ids", "more"), WINDOWS)
async def test_a_window_shows_its_part_of_a_thread(store: Conversations, window: Window, ids: str, more: bool) -> None:
    """Order, both ends and the limit hold together, and `more` says whether the limit left some out."""
    for thread_id in ("t1", "t2"):
        await store.add_thread(a_thread(thread_id))
        await store.add_messages(a_message(f"before {thread_id}", None))
    for letter in "abcde":
        await store.add_messages(a_message(letter, "t1"), a_message(f"other {letter}", "t2"))
    found, has_more = await store.messages(OWNER, "t1", window)
    assert ("".join(message.id for message in found), has_more) == (ids, more)


@pytest.mark.parametrize(("window", "ids", "more"), WINDOWS)
async def test_a_window_shows_its_part_of_the_threads(
    store: Conversations, window: Window, ids: str, more: bool
) -> None:
    """Threads are in the order of their last change, those of one moment in that of their making."""
    for letter in "badce":
        await store.add_thread(a_thread(letter, updated_at={"e": 3.0, "a": 1.0, "b": 2.0}.get(letter, 9.0)))
    for letter, updated_at in (("d", 2.0), ("c", 2.0)):
        await store.update_thread(OWNER, letter, updated_at=updated_at)
    # By now: a at 1, then b, d, c made in this order at 2, e at 3.
    names = {"a": "a", "b": "b", "d": "c", "c": "d", "e": "e"}
    back = {new: old for old, new in names.items()}
    asked = replace(window, after=back.get(window.after or ""), before=back.get(window.before or ""))
    found, has_more = await store.threads(OWNER, asked)
    assert ("".join(names[thread.id] for thread in found), has_more) == (ids, more)


async def test_an_unknown_cursor_is_an_error(store: Conversations) -> None:
    """So is one of another thread, and any in a thread that is not there."""
    for thread_id in ("t1", "t2"):
        await store.add_thread(a_thread(thread_id))
        await store.add_messages(a_message(f"in {thread_id}", thread_id))
    for window in (Window(after="x"), Window(before="x")):
        with pytest.raises(KeyError):
            await store.threads(OWNER, window)
    for thread_id, cursor in (("t1", "x"), ("t1", "in t2"), ("t9", "in t1")):
        for window in (Window(after=cursor), Window(before=cursor)):
            with pytest.raises(KeyError):
                await store.messages(OWNER, thread_id, window)
    assert await store.messages(OWNER, "t9", ALL) == ([], False)


async def test_a_thread_changes_where_it_is_told_to(store: Conversations) -> None:
    """What is not given stays; what is given may be empty."""
    thread = a_thread(name="name", metadata={"a": 1})
    await store.add_thread(thread)
    assert await store.update_thread(OWNER, "t1", updated_at=2.0)
    assert await store.find_thread(OWNER, "t1") == replace(thread, updated_at=2.0)
    assert await store.update_thread(OWNER, "t1", updated_at=3.0, name="")
    assert await store.update_thread(OWNER, "t1", updated_at=4.0, metadata={})
    assert await store.find_thread(OWNER, "t1") == replace(thread, updated_at=4.0, name="", metadata={})
    assert not await store.update_thread(OWNER, "t2", updated_at=2.0)


async def test_a_messages_metadata_is_replaced(store: Conversations) -> None:
    """As a whole, also while the message is in progress, whose text stays."""
    await store.add_thread(a_thread())
    await store.add_messages(begun(metadata={"a": 1, "b": 2}))
    store.append(OWNER, "m1", "text")
    await until_text(store, "text")
    assert await store.update_message(OWNER, "m1", metadata={"b": 3})
    assert await store.find_message(OWNER, "m1") == begun(metadata={"b": 3}, text="text")
    assert not await store.update_message(OWNER, "m2", metadata={})


async def test_pieces_become_the_text_in_their_order(store: Conversations) -> None:
    """What is appended shows while the message is in progress, in the list too, behind what it began with."""
    await store.add_thread(a_thread())
    await store.add_messages(begun(text="0 "), begun("m2"), a_message("m3", text="whole"))
    for number in range(1, 50):
        store.append(OWNER, "m1", f"{number} ")
        store.append(OWNER, "m2", "\U0001f600\0")
        store.append(OWNER, "m3", "no")
        store.append(OWNER, "m4", "no")
        store.append(OWNER, "m1", "")
    count = "".join(f"{number} " for number in range(50))
    await until_text(store, count)
    await until_text(store, "\U0001f600\0" * 49, "m2")
    found, _ = await store.messages(OWNER, "t1", ALL)
    assert [message.text for message in found] == [count, "\U0001f600\0" * 49, "whole"]


async def test_a_message_ends_once(store: Conversations) -> None:
    """The end gives text, content and the thread's time; a second one, and pieces behind it, change nothing."""
    await store.add_thread(a_thread())
    await store.add_messages(begun(metadata={"a": 1}, generation="g"))
    store.append(OWNER, "m1", "so far")
    ended = begun(
        metadata={"a": 1}, generation="g", status=MessageStatus.CANCELLED, ended_at=7.0, text="all of it", content=[1]
    )
    assert await store.end_message(OWNER, "m1", MessageStatus.CANCELLED, ended_at=7.0, text="all of it", content=[1])
    store.append(OWNER, "m1", " more")
    assert not await store.end_message(OWNER, "m1", MessageStatus.FAILED, ended_at=8.0, text="x", metadata={})
    assert await store.find_message(OWNER, "m1") == ended
    assert await store.find_thread(OWNER, "t1") == a_thread(updated_at=7.0)
    assert not await store.end_message(OWNER, "m2", MessageStatus.FAILED, ended_at=8.0, text="x")


async def test_an_end_may_bring_metadata(store: Conversations) -> None:
    """Metadata given with an end replaces the old, a thread is not needed; a message put in whole can't be ended."""
    await store.add_messages(begun(thread_id=None, metadata={"a": 1}), a_message("m2", None))
    assert await store.end_message(OWNER, "m1", MessageStatus.COMPLETED, ended_at=7.0, text="", metadata={"b": 2})
    found = await store.find_message(OWNER, "m1")
    assert found == begun(thread_id=None, metadata={"b": 2}, status=MessageStatus.COMPLETED, ended_at=7.0, content=None)
    assert not await store.end_message(OWNER, "m2", MessageStatus.FAILED, ended_at=8.0, text="x")


async def test_deleting_a_thread_takes_all_of_it(store: Conversations) -> None:
    """It gives the generation of each message and leaves other threads; its id and theirs are free again."""
    for thread_id in ("t1", "t2"):
        await store.add_thread(a_thread(thread_id))
    await store.add_messages(
        a_message("a"),
        begun("b", generation="g1"),
        a_message("c", generation="g2"),
        a_message("d", "t2", generation="g3"),
    )
    store.append(OWNER, "b", "text")
    assert await store.delete_thread(OWNER, "t1") == ["g1", "g2"]
    assert await store.delete_thread(OWNER, "t1") is None
    store.append(OWNER, "b", " more")
    assert not await store.end_message(OWNER, "b", MessageStatus.COMPLETED, ended_at=2.0, text="x")
    assert [await text_of(store, each) for each in "abcd"] == [None, None, None, ""]
    assert await store.find_thread(OWNER, "t1") is None
    assert not await store.add_messages(a_message("a"))
    assert await store.add_thread(a_thread("t1"))
    assert await store.add_messages(begun("b"))
    assert await text_of(store, "b") == ""
    assert await in_thread(store) == ["b"]
    assert await in_thread(store, "t2") == ["d"]
    assert await store.delete_thread(OWNER, "t1") == []


async def test_messages_are_deleted_by_id(store: Conversations) -> None:
    """In progress or not; it gives the generations of those that were there, each once."""
    await store.add_thread(a_thread())
    await store.add_messages(a_message("a", generation="g1"), begun("b", None, generation="g2"), a_message("c"))
    store.append(OWNER, "b", "text")
    assert await store.delete_messages(OWNER, "b", "x", "a", "c", "a") == ["g2", "g1"]
    assert await store.delete_messages(OWNER, "a", "b") == []
    assert await store.delete_messages(OWNER) == []
    assert await in_thread(store) == []
    assert await store.add_messages(begun("b", None))
    store.append(OWNER, "b", "new")
    await until_text(store, "new", "b")


async def test_a_new_message_of_an_old_id_takes_its_own_pieces(store: Conversations) -> None:
    """Pieces of a message that ended never show in one that later has the same id."""
    await store.add_messages(begun(thread_id=None))
    store.append(OWNER, "m1", "old")
    await store.end_message(OWNER, "m1", MessageStatus.COMPLETED, ended_at=2.0, text="old")
    await store.delete_messages(OWNER, "m1")
    await store.add_messages(begun(thread_id=None))
    store.append(OWNER, "m1", "new")
    await until_text(store, "new")


async def test_retention_takes_old_threads_with_their_messages(store: Conversations) -> None:
    """A thread goes `keep` seconds after its last change, but not while a message in it is in progress."""
    for thread_id, updated_at in (("old", 1000.0), ("busy", 1000.0), ("new", 1001.0)):
        await store.add_thread(a_thread(thread_id, updated_at=updated_at))
        await store.add_messages(a_message(f"m {thread_id}", thread_id, ended_at=1.0))
    await store.add_messages(begun("runs", "busy"))
    assert await store.purge(2000.0) == (0, 0)
    assert await store.purge(2000.5) == (1, 0)
    found, _ = await store.threads(OWNER, ALL)
    assert [thread.id for thread in found] == ["busy", "new"]
    assert [await text_of(store, f"m {each}") for each in ("old", "busy", "new")] == [None, "", ""]
    assert await store.end_message(OWNER, "runs", MessageStatus.COMPLETED, ended_at=1000.0, text="x")
    assert await store.purge(2000.5) == (1, 0)
    assert await store.purge(2001.5) == (1, 0)


async def test_retention_takes_old_messages_without_a_thread(store: Conversations) -> None:
    """They go `async_keep` seconds after their end, or after their making when they came whole; what runs stays."""
    await store.add_thread(a_thread(updated_at=5000.0))
    await store.add_messages(
        a_message("early", None, ended_at=1000.0),
        a_message("late", None, ended_at=1001.0),
        a_message("whole", None, created_at=1000.0),
        a_message("in a thread", ended_at=1000.0),
        begun("runs", None, created_at=1.0),
    )
    assert await store.purge(1100.0) == (0, 0)
    assert await store.purge(1100.5) == (0, 2)
    ids = ("early", "late", "whole", "in a thread", "runs")
    assert [await text_of(store, each) for each in ids] == [None, "", None, "", ""]


async def test_retention_takes_any_number(store: Conversations) -> None:
    """A purge goes on until nothing old is left."""
    for number in range(45):
        await store.add_thread(a_thread(f"t{number}"))
        await store.add_messages(a_message(f"m{number}", f"t{number}"))
    await store.add_messages(*(a_message(f"alone {number}", None) for number in range(450)))
    assert await store.purge(9000.0) == (45, 450)
    assert await store.purge(9000.0) == (0, 0)
    assert await store.threads(OWNER, ALL) == ([], False)
    assert await text_of(store, "m0") is None


async def test_an_append_to_what_is_not_there_is_ignored(store: Conversations) -> None:
    """It never raises, whatever the id."""
    for message_id in ("", "x", "a\ud800", "\0"):
        store.append(OWNER, message_id, "text")
    assert await store.add_thread(a_thread())
    assert await text_of(store, "x") is None


SIZED = [
    (Window(most_bytes=18), "ed", True),
    (Window(most_bytes=19), "ed", True),
    (Window(most_bytes=27), "edc", True),
    (Window(most_bytes=1000), "edcba", False),
    (Window(most_bytes=0), "e", True),
    (Window(limit=0, most_bytes=1000), "", True),
    (Window(limit=2, most_bytes=1000), "ed", True),
    (Window(most_bytes=18, after="c"), "ba", False),
    (Window(most_bytes=18, before="a"), "cb", True),
    (Window(most_bytes=0, after="a"), "", False),
    (Window(most_bytes=18, order="oldest"), "ab", True),
    (Window(most_bytes=18, order="oldest", before="d"), "bc", True),
]


@pytest.mark.parametrize(("window", "ids", "more"), SIZED, ids=[repr(window) for window, _, _ in SIZED])
async def test_a_window_has_a_bound_in_bytes(store: Conversations, window: Window, ids: str, more: bool) -> None:
    """As many messages are given as fit with text and content in UTF-8, from the window's own end, but at least one."""
    await store.add_thread(a_thread())
    await store.add_messages(*(a_message(each, text="\N{EURO SIGN}\0x") for each in "abcde"))
    found, left = await store.messages(OWNER, "t1", window)
    assert ("".join(each.id for each in found), left) == (ids, more)


async def test_many_messages_with_a_bound(store: Conversations) -> None:
    """A bound that many messages fit in takes them all, and the whole of each."""
    await store.add_thread(a_thread())
    await store.add_messages(*(a_message(f"m{number}", text=str(number)) for number in range(100)))
    found, more = await store.messages(OWNER, "t1", Window(limit=90, most_bytes=10_000))
    assert [each.text for each in found] == [str(number) for number in range(99, 9, -1)]
    assert more


async def test_outline(store: Conversations) -> None:
    """An outline says of each message what can be told without its text; of its content one value, whatever it is."""
    contents: list[Any] = [
        None,
        {"mark": {"a": ["1", 2]}, "b": "x"},
        ["mark"],
        {"mark": "\N{EURO SIGN}"},
        {"b": 1},
        "mark",
    ]
    await store.add_thread(a_thread())
    await store.add_messages(*(a_message(f"m{n}", content=content, text="t") for n, content in enumerate(contents)))
    await store.add_messages(
        a_message("f1", role="assistant", status=MessageStatus.FAILED),
        a_message("f2", role="assistant", status=MessageStatus.FAILED, text="t"),
    )
    found, more = await store.outline(OWNER, "t1", 8, "mark")
    assert [each.mark for each in found] == [None, {"a": ["1", 2]}, None, "\N{EURO SIGN}", None, None, None, None]
    assert [each.id for each in found] == ["m0", "m1", "m2", "m3", "m4", "m5", "f1", "f2"]
    assert [each.id for each in found if each.is_nothing] == ["f1"]
    assert {each.role for each in found} == {"user", "assistant"}
    assert not more
    newest, more = await store.outline(OWNER, "t1", 2, "mark")
    assert (newest, more) == (found[-2:], True)
    for stranger in STRANGERS:
        assert await store.outline(stranger, "t1", 8, "mark") == ([], False)


async def test_outline_of_a_deep_content(store: Conversations) -> None:
    """A content that is nested deeper than the database reads has no mark, and fails nothing."""
    deep: Any = []
    for _ in range(900):
        deep = [deep]
    await store.add_thread(a_thread())
    await store.add_messages(a_message(content={"mark": 1, "deep": [deep]}), a_message("m2", content={"mark": 2}))
    found, _ = await store.outline(OWNER, "t1", 8, "mark")
    assert found[1].mark == 2
