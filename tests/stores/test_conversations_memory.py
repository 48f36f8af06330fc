from proxy.core.conversation import MessageStatus
from proxy.stores.conversations_memory import MOST, MemoryConversations
from proxy.stores.ledger_null import NullLedger
from support.conversations import ALL, OWNER, a_message, a_thread, begun, in_thread, text_of


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


async def test_a_null_ledger_keeps_conversations() -> None:
    """Each has one store of its own, with the bound of the module."""
    ledger = NullLedger()
    assert await ledger.conversations.add_thread(a_thread())
    assert await ledger.conversations.find_thread(OWNER, "t1") == a_thread()
    assert await NullLedger().conversations.find_thread(OWNER, "t1") is None
    assert MOST == 10_000
