"""Putting in what one call brings along, into a store that takes what is queued at one time in this order."""

import asyncio
from collections.abc import Sequence

from proxy.core.conversation import Item, Message, Thread
from proxy.stores.conversations.port import Conversations, Owner, PutIn


async def put_one_by_one(
    store: Conversations, thread: Thread | None, messages: Sequence[Message], items: Sequence[Item]
) -> PutIn:
    """See `Conversations.put_in`: one thing after another is queued, and all of it waits for the disk once."""
    added: list[Item] = []
    done = await asyncio.gather(
        *(() if thread is None else (store.add_thread(thread),)),
        store.add_messages(*messages),
        *(_put_item(store, item, added) for item in items),
        return_exceptions=True,
    )
    return PutIn(
        is_whole=all(each is True for each in done),
        has_thread=thread is not None and done[0] is True,
        has_messages=bool(messages) and done[thread is not None] is True,
        added=added,
        error=next((each for each in done if isinstance(each, BaseException)), None),
    )


async def _put_item(store: Conversations, item: Item, added: list[Item]) -> bool:
    if not await store.add_items(item):
        return await change_item(store, item)
    added.append(item)
    return True


async def change_item(store: Conversations, item: Item) -> bool:
    """Let an item that is there be as this one; False: it is not there."""
    return await store.update_item(
        Owner(item.identity, item.dialect),
        item.kind,
        item.id,
        item.body,
        is_open=item.is_open,
        expires_at=item.expires_at,
    )
