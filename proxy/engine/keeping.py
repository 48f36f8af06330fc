"""What a translated dialect's generations leave in the conversation store: put in, grown, and ended."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from proxy.core.errors import Refusal
from proxy.engine.relay import Relay
from proxy.engine.tasks import Tasks
from proxy.engine.translation import Kept, Stored
from proxy.stores.conversations import Conversations, Owner


class Keeping:
    """The engine's hand at the conversation store."""

    def __init__(self, conversations: Conversations, tasks: Tasks) -> None:
        """`tasks`: whose end is waited for before the store is closed."""
        self._conversations = conversations
        self._tasks = tasks

    def put_in(self, kept: Kept, uid: str, started: "asyncio.Future[None]") -> "asyncio.Future[None]":
        """Put in what a call brings along; done when that and its START are on disk, failed with a `Refusal` or not."""
        ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._tasks.start(self._write(kept, uid, started, ready), f"keep {uid}")
        return ready

    async def _write(
        self, kept: Kept, uid: str, started: "asyncio.Future[None]", ready: "asyncio.Future[None]"
    ) -> None:
        try:
            done = await self._put(kept, uid)
            await started
        except Exception as error:  # noqa: BLE001 whoever waits is told
            ready.set_exception(error)
            return
        if done:
            ready.set_result(None)
        else:
            message = "There is something else with one of these ids already."
            ready.set_exception(Refusal.bad_request("id_in_use", message))

    async def _put(self, kept: Kept, uid: str) -> bool:
        there = kept.thread is None or await self._conversations.add_thread(kept.thread)
        return there and await self._conversations.add_messages(*kept.before, replace(kept.answer, generation=uid))

    def append(self, relay: Relay, text: str) -> None:
        """Write the next piece of an answer's text; never waits."""
        if (kept := relay.plan.kept) is not None:
            self._conversations.append(_owner(kept), kept.answer.id, text)

    async def drop(self, kept: Kept, message_ids: Sequence[str]) -> list[str]:
        """Delete messages; gives the `uid` of each generation that made one of them.

        Raises:
            LedgerUnavailableError: they can't be deleted now.
        """
        return await self._conversations.delete_messages(_owner(kept), *message_ids)

    async def end(self, relay: Relay, kept: Kept, stored: Stored) -> None:
        """Write what became of an answer.

        Raises:
            LedgerUnavailableError: it can't be written now.
        """
        await self._conversations.end_message(
            _owner(kept),
            kept.answer.id,
            stored.status,
            ended_at=relay.wall(),
            text=stored.text,
            content=stored.content,
            metadata=stored.metadata,
        )


def _owner(kept: Kept) -> Owner:
    return Owner(kept.answer.identity, kept.answer.dialect)
