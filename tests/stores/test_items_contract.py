"""What every conversation store must do with items; run over each implementation."""

import math
from dataclasses import replace
from typing import Any

import pytest

from proxy.core.conversation import Item
from proxy.stores.conversations.port import Conversations, Owner, Window
from support.conversations import ALL, EVERY_JSON, OWNER, WINDOWS, a_message, a_thread, an_item, begun, listed

STRANGERS = [Owner("other", "dify"), Owner("acme", "assistants")]
OTHERS: list[dict[str, Any]] = [{"identity": "other"}, {"dialect": "assistants"}]


async def there(store: Conversations, *items: Item) -> list[str]:
    """Which of them are there, as they were put in."""
    found = [await store.find_item(Owner(each.identity, each.dialect), each.kind, each.id) for each in items]
    return [each.id for each, is_this in zip(items, found, strict=True) if is_this == each]


async def test_an_item_comes_back_as_it_was_put_in(store: Conversations) -> None:
    """Every field survives, the body with all that JSON has; it is found by kind and id together."""
    await store.add_thread(a_thread())
    full = an_item(
        "r\0é",
        thread_id="t1",
        parent="p\0",
        body=EVERY_JSON,
        is_open=True,
        is_interrupted=True,
        expires_at=2000.25,
        created_at=1000.5,
    )
    assert await store.add_items(full, an_item("plain", body={}))
    assert await store.find_item(OWNER, "run", "r\0é") == full
    assert await store.find_item(OWNER, "run", "plain") == an_item("plain", body={})
    assert await store.find_item(OWNER, "run", "r") is None
    assert await store.find_item(OWNER, "step", "plain") is None


async def test_what_the_caller_does_later_changes_nothing(store: Conversations) -> None:
    """Neither what was put in, nor what an update brought, nor what came out is shared with the store."""
    body: dict[str, Any] = {"list": [1]}
    await store.add_items(an_item(body=body), an_item("r2"))
    await store.update_item(OWNER, "run", "r2", body, is_open=False)
    body["list"].append(2)
    for _ in range(2):
        found, _more = await store.items(OWNER, "run", None, ALL)
        one = await store.find_item(OWNER, "run", "r1")
        assert one is not None
        for item in (*found, one):
            assert item.body == {"list": [1]}
            item.body["list"].append(3)


async def test_what_no_database_takes_is_made_harmless(store: Conversations) -> None:
    """Lone surrogates become U+FFFD, NaN and infinities null, an expiry that is no number none."""
    bad, value = "a\ud800b", {"x\udfff": [math.nan, math.inf, -math.inf, "\ud800"]}
    good = {"x\ufffd": [None, None, None, "\ufffd"]}
    owner = Owner(bad, bad, bad)
    await store.add_thread(replace(a_thread(bad), identity=bad, dialect=bad))
    item = Item(bad, bad, bad, bad, math.nan, value, thread_id=bad, parent=bad, expires_at=math.inf)
    assert await store.add_items(item)
    assert not await store.add_items(item)
    (found,), _ = await store.items(owner, bad, bad, Window())
    assert found == await store.find_item(owner, bad, bad)
    assert (found.id, found.parent, found.thread_id, found.body) == ("a\ufffdb", "a\ufffdb", "a\ufffdb", good)
    assert (found.created_at, found.expires_at) == (0.0, None)
    assert await store.update_item(owner, bad, bad, {"new": value}, is_open=True, expires_at=math.nan)
    (found,), _ = await store.items(owner, bad, bad, Window())
    assert (found.body, found.expires_at) == ({"new": good}, None)
    assert await store.items(owner, bad, bad, Window(after=bad)) == ([], False)
    assert await store.delete_items(owner, bad, bad) == 1


async def test_a_body_that_is_no_json_harms_nobody(store: Conversations) -> None:
    """It is refused before anything is queued; the store goes on."""
    with pytest.raises(TypeError):
        await store.add_items(an_item(), an_item("r2", body={"x": object()}))
    assert await there(store, an_item()) == []
    assert await store.add_items(an_item())
    with pytest.raises(TypeError):
        await store.update_item(OWNER, "run", "r1", {"x": {1, 2}}, is_open=True)
    assert await there(store, an_item()) == ["r1"]


async def test_an_id_is_taken_once_for_each_owner_dialect_and_kind(store: Conversations) -> None:
    """A second item with an id is refused; the first one stays as it was."""
    assert await store.add_items(an_item())
    assert not await store.add_items(an_item(body={"second": 1}, parent="p"))
    for other in (*OTHERS, {"kind": "step"}):
        assert await store.add_items(an_item(**{"kind": "run", **other, "body": {"other": 1}}))
    assert await there(store, an_item()) == ["r1"]


@pytest.mark.parametrize("place", [0, 1, 2])
async def test_items_go_in_all_or_none(store: Conversations, place: int) -> None:
    """If one of the ids is taken, or comes twice, or a thread is not there or not one's own, none of them is put in."""
    await store.add_thread(a_thread())
    await store.add_thread(a_thread("theirs", identity="other"))
    assert await store.add_items(an_item("taken"))
    for wrong in (an_item("taken"), an_item("a"), an_item("c", thread_id="t9"), an_item("c", thread_id="theirs")):
        group = [an_item("a", thread_id="t1"), an_item("b")]
        group.insert(place, wrong)
        assert not await store.add_items(*group)
    assert await listed(store) == ["taken"]
    assert await store.add_items(an_item("a", thread_id="t1"), an_item("b"))
    assert await store.add_items()
    assert await listed(store) == ["taken", "a", "b"]


async def test_the_order_of_items_is_that_of_their_insertion(store: Conversations) -> None:
    """Neither time nor id counts, nor does a change; and what is deleted leaves no gap for later ones."""
    await store.add_items(an_item("z", created_at=9.0), an_item("y", created_at=8.0), an_item("x"))
    await store.delete_items(OWNER, "run", "x")
    await store.add_items(an_item("b", created_at=1.0), an_item("a", created_at=2.0))
    await store.update_item(OWNER, "run", "z", {}, is_open=False)
    assert await listed(store) == ["z", "y", "b", "a"]


@pytest.mark.parametrize("stranger", STRANGERS)
async def test_somebody_elses_look_like_unknown_ones(store: Conversations, stranger: Owner) -> None:
    """Another caller or dialect finds, changes and deletes nothing, and can't see where a list is."""
    item, child = an_item(is_open=True), an_item("s1", "step", parent="r1")
    await store.add_items(item, child)
    assert await store.find_item(stranger, "run", "r1") is None
    assert await store.items(stranger, "run", None, ALL) == ([], False)
    for window in (Window(after="r1"), Window(before="r1")):
        with pytest.raises(KeyError):
            await store.items(stranger, "run", None, window)
    assert not await store.update_item(stranger, "run", "r1", {}, is_open=False)
    assert await store.delete_items(stranger, "run", "r1") == 0
    assert await there(store, item, child) == ["r1", "s1"]


async def test_items_have_no_user(store: Conversations) -> None:
    """Whoever of a caller's users asks: each finds, lists, changes and deletes the same, in any user's thread."""
    await store.add_thread(a_thread(user="ann"))
    bob = Owner("acme", "dify", "bob")
    assert await store.add_items(an_item(thread_id="t1"))
    assert await store.find_item(bob, "run", "r1") == an_item(thread_id="t1")
    assert await listed(store, owner=bob) == ["r1"]
    assert await store.update_item(bob, "run", "r1", {"x": 1}, is_open=False)
    assert await store.delete_items(bob, "run", "r1") == 1


@pytest.mark.parametrize("parent", ["p1", None])
@pytest.mark.parametrize(("window", "ids", "more"), WINDOWS)
async def test_a_window_shows_its_part_of_a_list(
    store: Conversations, parent: str | None, window: Window, ids: str, more: bool
) -> None:
    """Order, both ends and the limit hold together; other kinds, parents and callers are not in it."""
    for letter in "abcde":
        await store.add_items(
            an_item(letter, parent=parent),
            an_item(letter, "step", parent=parent),
            an_item(f"other {letter}", parent="p2"),
            *(an_item(letter, parent=parent, **other) for other in OTHERS),
        )
    found, has_more = await store.items(OWNER, "run", parent, window)
    assert ("".join(item.id for item in found), has_more) == (ids, more)


async def test_an_unknown_cursor_is_an_error(store: Conversations) -> None:
    """So is one of another kind or parent; a list of nothing is empty."""
    await store.add_items(an_item(), an_item("s1", "step", parent="r1"), an_item("s2", "step", parent="r2"))
    for kind, parent, cursor in (("run", None, "x"), ("run", None, "s1"), ("step", "r1", "s2"), ("step", None, "s1")):
        for window in (Window(after=cursor), Window(before=cursor)):
            with pytest.raises(KeyError):
                await store.items(OWNER, kind, parent, window)
    assert await store.items(OWNER, "step", "r9", ALL) == ([], False)


async def test_an_item_changes_as_a_whole(store: Conversations) -> None:
    """Body, open and expiry are replaced, what was interrupted is not any more; what it is and where stays."""
    await store.add_thread(a_thread())
    item = an_item(thread_id="t1", parent="p", is_open=True, is_interrupted=True, expires_at=5.0, body={"a": 1, "b": 2})
    await store.add_items(item, an_item("r2"))
    assert await store.update_item(OWNER, "run", "r1", {"b": 3}, is_open=False)
    now = replace(item, body={"b": 3}, is_open=False, is_interrupted=False, expires_at=None)
    assert await store.find_item(OWNER, "run", "r1") == now
    assert await store.update_item(OWNER, "run", "r1", {}, is_open=True, expires_at=6)
    assert await store.find_item(OWNER, "run", "r1") == replace(now, body={}, is_open=True, expires_at=6.0)
    assert not await store.update_item(OWNER, "run", "r9", {}, is_open=True)
    assert not await store.update_item(OWNER, "step", "r2", {}, is_open=True)
    assert await there(store, an_item("r2")) == ["r2"]


async def test_items_are_deleted_by_id(store: Conversations) -> None:
    """Open or not; it gives how many of the named were there, each once, and their ids are free again."""
    await store.add_items(an_item("a"), an_item("b", is_open=True), an_item("c"), an_item("a", "step"))
    assert await store.delete_items(OWNER, "run", "b", "x", "a", "a") == 2
    assert await store.delete_items(OWNER, "run", "a", "b") == 0
    assert await store.delete_items(OWNER, "run") == 0
    assert await listed(store) == ["c"]
    assert await listed(store, "step") == ["a"]
    assert not await store.update_item(OWNER, "run", "b", {}, is_open=False)
    assert await store.add_items(an_item("b"), an_item("a"))
    assert await listed(store) == ["c", "b", "a"]


async def test_an_item_takes_those_below_it(store: Conversations) -> None:
    """Of every kind, open or not, of that caller and dialect; not what is below those, and they don't count."""
    gone = [
        an_item(),
        an_item("s1", "step", parent="r1"),
        an_item("s2", "step", parent="r1", is_open=True),
        an_item("f1", "file", parent="r1"),
    ]
    stays = [
        an_item("below", "file", parent="s1"),
        an_item("s3", "step", parent="r2"),
        an_item("s4", "step"),
        *(an_item("s1", "step", parent="r1", **other) for other in OTHERS),
    ]
    assert await store.add_items(*gone, *stays)
    assert await store.delete_items(OWNER, "run", "r1", "r9") == 1
    assert await there(store, *gone) == []
    assert await there(store, *stays) == ["below", "s3", "s4", "s1", "s1"]
    assert await listed(store, "step", "r1") == []
    assert await store.add_items(*gone)


async def test_a_child_that_is_named_counts(store: Conversations) -> None:
    """Of two that are named both count, also when one is below the other, or an item is below itself."""
    await store.add_items(an_item("a"), an_item("b", parent="a"), an_item("c", parent="c"))
    assert await store.delete_items(OWNER, "run", "a", "b", "c") == 3


async def test_deleting_a_thread_takes_its_items(store: Conversations) -> None:
    """Open or not, with what is below them; it gives the messages' generations alone, and their ids are free again."""
    for thread_id in ("t1", "t2"):
        await store.add_thread(a_thread(thread_id))
    for other in OTHERS:
        await store.add_thread(a_thread(**other))
    gone = [
        an_item(thread_id="t1", is_open=True),
        an_item("s1", "step", parent="r1"),
        an_item("s2", "step", thread_id="t1", parent="r1", is_open=True),
    ]
    stays = [
        an_item("r2", thread_id="t2"),
        an_item("s3", "step", parent="r2"),
        an_item("alone", expires_at=1.0),
        an_item("listed below the thread", parent="t1"),
        *(an_item(thread_id="t1", **other) for other in OTHERS),
    ]
    assert await store.add_items(*gone, *stays)
    assert await store.add_messages(a_message(generation="g1"))
    assert await store.delete_thread(OWNER, "t1") == ["g1"]
    assert await there(store, *gone) == []
    assert await there(store, *stays) == [item.id for item in stays]
    assert not await store.add_items(*gone)
    assert await store.add_thread(a_thread())
    assert await store.add_items(*gone)
    assert await store.delete_thread(OWNER, "t1") == []


async def test_deleting_messages_takes_no_items(store: Conversations) -> None:
    """Whatever their ids are."""
    await store.add_messages(begun("r1", None, generation="g"))
    await store.add_items(an_item(), an_item("s1", "step", parent="r1"))
    assert await store.delete_messages(OWNER, "r1") == ["g"]
    assert await there(store, an_item(), an_item("s1", "step", parent="r1")) == ["r1", "s1"]


async def test_retention_takes_old_threads_with_their_items(store: Conversations) -> None:
    """With what is below them, but not while one of them is open; what is taken along is not counted."""
    for thread_id, updated_at in (("old", 1000.0), ("busy", 1000.0), ("new", 1001.0)):
        await store.add_thread(a_thread(thread_id, updated_at=updated_at))
    gone = [an_item("r old", thread_id="old"), an_item("s old", "step", parent="r old", is_open=True)]
    stays = [
        an_item("r busy", thread_id="busy"),
        an_item("runs", thread_id="busy", is_open=True),
        an_item("r new", thread_id="new"),
        an_item("alone", created_at=1.0),
    ]
    assert await store.add_items(*gone, *stays)
    assert await store.purge(2000.0) == (0, 0)
    assert await store.purge(2000.5) == (1, 0)
    assert await there(store, *gone, *stays) == [item.id for item in stays]
    assert await store.update_item(OWNER, "run", "runs", {}, is_open=False)
    assert await store.purge(2000.5) == (1, 0)
    assert await listed(store) == ["r new", "alone"]


async def test_retention_takes_what_has_expired(store: Conversations) -> None:
    """With what is below it; not before its time, and not while it is open. What has no expiry stays."""
    await store.add_thread(a_thread(updated_at=9000.0))
    gone = [
        an_item("early", expires_at=1000.0),
        an_item("in a thread", expires_at=1000.0, thread_id="t1"),
        an_item("below", "step", parent="early", expires_at=9000.0, is_open=True),
    ]
    stays = [
        an_item("late", expires_at=1001.0),
        an_item("open", expires_at=1.0, is_open=True),
        an_item("for ever", created_at=1.0),
        an_item("below", "file", parent="late"),
    ]
    assert await store.add_items(*gone, *stays)
    assert await store.purge(1000.0) == (0, 0)
    assert await there(store, *gone) == [item.id for item in gone]
    assert await store.purge(1000.5) == (0, 0)
    assert await there(store, *gone, *stays) == [item.id for item in stays]
    assert await store.update_item(OWNER, "run", "open", {}, is_open=False, expires_at=1000.0)
    assert await store.update_item(OWNER, "run", "late", {}, is_open=False)
    await store.purge(1001.5)
    assert await listed(store) == ["late", "for ever"]


async def test_retention_takes_any_number(store: Conversations) -> None:
    """A purge goes on until nothing old is left, however many others came along."""
    many = [an_item(f"r{number}", expires_at=1.0) for number in range(250)]
    await store.add_items(*many)
    await store.add_items(*(an_item(f"s{number}", "step", parent=f"r{number // 2}") for number in range(500)))
    assert await store.purge(9000.0) == (0, 0)
    assert await listed(store) == []
    assert await store.add_items(*many, *(an_item(f"s{number}", "step") for number in range(500)))
