from proxy.core.conversation import MessageStatus
from proxy.stores.conversations.memory import MOST, MemoryConversations
from proxy.stores.ledger.null import NullLedger
from support.conversations import ALL, OWNER, a_message, a_thread, an_item, begun, in_thread, listed, text_of


async def test_beyond_the_bound_what_ended_first_goes_first() -> None:
    """As many messages are kept as were asked for; what is in progress stays, and lists go on without the gone ones."""
    store = MemoryConversations(most=10)
    await store.add_thread(a_thread())
    await store.add_messages(begun("runs"), *(a_message(f"m{n}", ended_at=100.0 - n) for n in range(9)))
    await store.add_messages(a_message("next", ended_at=150.0))
    assert await in_thread(store) == ["runs", *(f"m{n}" for n in range(8)), "next"]
    await store.add_messages(*(begun(f"r{n}") for n in range(15)))
    assert await in_thread(store) == ["runs", *(f"r{n}" for n in range(15))]
    assert await store.end_message(OWNER, "runs", MessageStatus.COMPLETED, ended_at=200.0, text="x")
    await store.add_messages(begun("r15"))
    assert await text_of(store, "runs") is None


async def test_beyond_the_bound_idle_threads_go() -> None:
    """The thread that changed first goes, with its messages; one in which a message is in progress stays."""
    store = MemoryConversations(most=3)
    for number in range(3):
        await store.add_thread(a_thread(f"t{number}", updated_at=1000.0 + number))
    await store.add_messages(begun("runs", "t0"), a_message("m1", "t1"))
    await store.add_thread(a_thread("t3", updated_at=2000.0))
    found, _ = await store.threads(OWNER, ALL)
    assert [thread.id for thread in found] == ["t0", "t2", "t3"]
    assert await text_of(store, "m1") is None


async def test_a_tenth_goes_at_once() -> None:
    """Not each new message beyond the bound has to look for the oldest one."""
    store = MemoryConversations(most=20)
    await store.add_messages(*(a_message(f"m{number}", None, ended_at=number) for number in range(20)))
    await store.add_messages(a_message("next", None, ended_at=30.0))
    assert [await text_of(store, f"m{number}") for number in range(3)] == [None, None, ""]


async def test_beyond_the_bound_items_go_in_the_order_of_their_kind() -> None:
    """As many of a kind are kept as were asked for, whatever there is of others; what is open stays."""
    store = MemoryConversations(most=3)
    await store.add_items(an_item("a1", "assistant"), an_item("r0", is_open=True), an_item("r1", created_at=9000.0))
    await store.add_items(an_item("s0", "step", parent="r0"), an_item("s1", "step", parent="r1"))
    await store.add_items(an_item("r2"))
    assert await listed(store) == ["r0", "r1", "r2"]
    await store.add_items(an_item("r3"))
    assert await listed(store) == ["r0", "r2", "r3"]
    assert await listed(store, "assistant") == ["a1"]
    assert await listed(store, "step", "r0") == ["s0"]
    assert await listed(store, "step", "r1") == []
    await store.update_item(OWNER, "run", "r0", {}, is_open=False)
    await store.add_items(*(an_item(f"o{number}", is_open=True) for number in range(5)))
    assert await listed(store) == [f"o{number}" for number in range(5)]


async def test_a_tenth_of_the_items_goes_at_once() -> None:
    """Not each new one beyond the bound has to look past all that is open."""
    store = MemoryConversations(most=20)
    await store.add_items(*(an_item(f"r{number}") for number in range(21)))
    assert await listed(store) == [f"r{number}" for number in range(2, 21)]


async def test_a_bound_of_none_keeps_what_is_open() -> None:
    """Nothing breaks when what goes takes along what was put in with it."""
    store = MemoryConversations(most=0)
    assert await store.add_items(an_item(), an_item("s1", "step", parent="r1"), an_item("r2", is_open=True))
    assert (await listed(store), await listed(store, "step", "r1")) == (["r2"], [])


async def test_a_thread_with_an_open_item_is_not_idle() -> None:
    """Beyond the bound another thread goes, with its items."""
    store = MemoryConversations(most=2)
    for number in range(2):
        await store.add_thread(a_thread(f"t{number}", updated_at=1000.0 + number))
    await store.add_items(an_item("r0", thread_id="t0", is_open=True), an_item("r1", thread_id="t1"))
    await store.add_thread(a_thread("t2", updated_at=2000.0))
    found, _ = await store.threads(OWNER, ALL)
    assert [thread.id for thread in found] == ["t0", "t2"]
    assert await listed(store) == ["r0"]


async def test_items_leave_nothing_behind() -> None:
    """What was looked up by kind, parent or thread goes with the last item of it."""
    store = MemoryConversations()
    await store.add_thread(a_thread())
    await store.add_items(an_item(thread_id="t1"), an_item("s1", "step", parent="r1"))
    await store.delete_thread(OWNER, "t1")
    assert (store._items, store._groups) == ({}, {})


async def test_a_null_ledger_keeps_conversations() -> None:
    """Each has one store of its own, with the bound of the module."""
    ledger = NullLedger()
    assert await ledger.conversations.add_thread(a_thread())
    assert await ledger.conversations.find_thread(OWNER, "t1") == a_thread()
    assert await NullLedger().conversations.find_thread(OWNER, "t1") is None
    assert MOST == 10_000
