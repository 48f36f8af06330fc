"""A program that makes messages and items until it is killed, and says on stdout what was acknowledged.

Usage: python -m support.conversation_victim DATABASE ROUND. Each line is one of `begun ID`, `text ID LENGTH` (what
was handed over so far), `ended ID`, `closed ID` and `deleted ID`. A message's text repeats its id; every other one is
ended and its run closed, every sixth deleted.
"""

import asyncio
import itertools
import sys

from proxy.core.conversation import MessageStatus
from proxy.stores.conversations.port import Conversations
from proxy.stores.ledger.sqlite_open import open_ledger
from support.conversations import OWNER, a_message, a_thread, an_item, begun
from support.ledger_victim import say


async def conversation(store: Conversations, name: str, number: int) -> None:
    """One thread's life: a question, an answer that is written bit by bit, the run that makes it and its step."""
    await store.add_thread(a_thread(name))
    await store.add_messages(a_message(f"q-{name}", name, text="why?"), begun(name, name))
    await store.add_items(an_item(name, thread_id=name, is_open=True), an_item(name, "step", parent=name, is_open=True))
    say(f"begun {name}")
    for count in range(1, 6):
        say(f"text {name} {count * len(name)}")
        store.append(OWNER, name, name)
        await asyncio.sleep(0.002)
    if number % 2 == 0:
        await store.end_message(OWNER, name, MessageStatus.COMPLETED, ended_at=1500.0, text=name * 5)
        say(f"ended {name}")
        await store.update_item(OWNER, "run", name, {"over": name}, is_open=False)
        say(f"closed {name}")
    if number % 6 == 0:
        await store.delete_thread(OWNER, name)
        say(f"deleted {name}")


async def main() -> None:
    """Begin a new conversation every other millisecond or so, for ever."""
    ledger = await open_ledger(
        f"sqlite:///{sys.argv[1]}", text="partial", keep=9e9, text_keep=9e9, now=2000.0, replica="victim"
    )
    say("open")
    running = set()
    for number in itertools.count():
        name = f"{sys.argv[2]}-{number}"
        task = asyncio.get_running_loop().create_task(conversation(ledger.conversations, name, number))
        running.add(task)
        task.add_done_callback(running.discard)
        await asyncio.sleep(0.002)


if __name__ == "__main__":
    asyncio.run(main())
