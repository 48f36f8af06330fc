"""What a translated dialect's generations leave in the conversation store: put in, grown, and ended.

Nothing overtakes the putting in: pieces of text are held until it is on disk, an end is written behind it, and what
could not be put in as a whole, with its START, is taken back. Items that were there before say their end all the same.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from proxy.core.conversation import Item, MessageStatus
from proxy.core.errors import Refusal
from proxy.engine.failures import log_failure
from proxy.engine.relaying.relay import Relay
from proxy.engine.tasks import Tasks
from proxy.engine.translating.translation import Kept, Stored
from proxy.stores.conversations.port import Conversations, Owner
from proxy.stores.conversations.put import change_item
from proxy.stores.ledger.port import LedgerUnavailableError


@dataclass(slots=True, eq=False)
class _Put:
    """How far that is. `ready`: messages and START are on disk, or it failed. `held`: text that came meanwhile.

    `added`: items that were not there before.
    """

    ready: "asyncio.Future[None]"
    task: "asyncio.Task[None] | None" = None
    held: list[str] = field(default_factory=list)
    has_thread: bool = False
    has_messages: bool = False
    added: Sequence[Item] = ()


class Keeping:
    """The engine's hand at the conversation store."""

    def __init__(self, conversations: Conversations, tasks: Tasks) -> None:
        """`tasks`: whose end is waited for before the store is closed."""
        self._conversations = conversations
        self._tasks = tasks
        self._puts: dict[str, _Put] = {}

    def put_in(self, kept: Kept, uid: str, started: "asyncio.Future[None]") -> "asyncio.Future[None]":
        """Put in what a call brings along; done when that and its START are on disk, failed with a `Refusal` or not."""
        put = self._puts[uid] = _Put(asyncio.get_running_loop().create_future())
        put.task = self._tasks.start(self._write(kept, uid, started, put), f"keep {uid}")
        return put.ready

    async def _write(self, kept: Kept, uid: str, started: "asyncio.Future[None]", put: _Put) -> None:
        try:
            await self._put(kept, uid, put)
            self._conversations.append(_owner(kept), kept.answer.id, "".join(put.held))
            await started
        except Exception as error:  # noqa: BLE001 whoever waits is told
            put.ready.set_exception(error)
            await self._take_back(kept, put)
        else:
            put.ready.set_result(None)
        finally:
            put.held.clear()

    async def _put(self, kept: Kept, uid: str, put: _Put) -> None:
        """All of it, which waits for the disk once."""
        messages = (*kept.before, replace(kept.answer, generation=uid))
        done = await self._conversations.put_in(kept.thread, messages, kept.items)
        put.has_thread, put.has_messages, put.added = done.has_thread, done.has_messages, done.added
        if done.error is not None:
            raise done.error
        if not done.is_whole:
            raise Refusal.bad_request("id_in_use", "There is something else with one of these ids already.")

    async def _end_item(self, item: Item) -> None:
        if not await change_item(self._conversations, item):
            await self._conversations.add_items(item)

    async def _take_back(self, kept: Kept, put: _Put) -> None:
        """Delete what came into the store: there is no generation that it is of."""
        owner = _owner(kept)
        try:
            if put.has_thread and kept.thread is not None:
                await self._conversations.delete_thread(owner, kept.thread.id)
            elif put.has_messages:
                await self._conversations.delete_messages(owner, *_ids(kept))
            for item in put.added:
                await self._conversations.delete_items(owner, item.kind, item.id)
        except LedgerUnavailableError as error:
            log_failure("conversation.not_taken_back", error)
            if put.has_messages:
                await self._end_failed(kept)

    async def _end_failed(self, kept: Kept) -> None:
        """End an answer that can't be deleted now: it must not be in progress for ever. Ends are always taken."""
        answer = kept.answer
        await self._conversations.end_message(
            _owner(kept),
            answer.id,
            MessageStatus.FAILED,
            ended_at=answer.created_at,
            text="",
            content=answer.content,
        )

    def append(self, relay: Relay, text: str) -> None:
        """Write the next piece of an answer's text; never waits."""
        kept, put = relay.plan.kept, self._puts.get(relay.generation.facts.uid)
        if kept is None or put is None:
            return
        if put.has_messages:
            self._conversations.append(_owner(kept), kept.answer.id, text)
        elif not put.ready.done():
            put.held.append(text)

    async def drop(self, relay: Relay, kept: Kept, message_ids: Sequence[str]) -> list[str]:
        """Delete messages, once they are in; gives the `uid` of each generation that made one of them.

        Raises:
            LedgerUnavailableError: they can't be deleted now.
        """
        if not await self._is_in(relay):
            return []
        try:
            return await self._conversations.delete_messages(_owner(kept), *message_ids)
        except LedgerUnavailableError:
            await self._end_failed(kept)
            raise

    async def end(self, relay: Relay, kept: Kept, stored: Stored) -> None:
        """Write what became of an answer, once it is in.

        Raises:
            LedgerUnavailableError: it can't be written now.
        """
        ended_at = relay.wall()
        if not await self._is_in(relay):
            await self._end_changed(kept, stored)
            return
        ending = self._conversations.end_message(
            _owner(kept),
            kept.answer.id,
            stored.status,
            ended_at=ended_at,
            text=stored.text,
            content=stored.content,
            metadata=stored.metadata,
        )
        await asyncio.gather(ending, *(self._end_item(item) for item in stored.items))

    async def _end_changed(self, kept: Kept, stored: Stored) -> None:
        """Write what became of items that were there before the call; those that it brought are taken back."""
        items = {(item.kind, item.id): item for item in (*kept.items, *stored.items)}
        await asyncio.gather(*(change_item(self._conversations, item) for item in items.values()))

    def let_go(self, uid: str) -> None:
        """The generation is settled: no more text comes."""
        self._puts.pop(uid, None)

    async def _is_in(self, relay: Relay) -> bool:
        """Wait until what the call brought along is in, or was taken back."""
        put = self._puts.get(relay.generation.facts.uid)
        if put is None or put.task is None:
            return False
        await asyncio.wait({put.task})
        return put.ready.done() and put.ready.exception() is None


def _owner(kept: Kept) -> Owner:
    return Owner(kept.answer.identity, kept.answer.dialect)


def _ids(kept: Kept) -> list[str]:
    return [message.id for message in (*kept.before, kept.answer)]
