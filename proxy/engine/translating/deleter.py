"""Deletes threads and messages: what is being made of them is stopped at every replica, and its text is nowhere."""

import asyncio
from collections.abc import Sequence
from typing import Final

from proxy.core.conversation import MessageStatus
from proxy.core.errors import Refusal
from proxy.core.generation import Stop
from proxy.core.lifecycle import Cause
from proxy.engine.canceller import Canceller
from proxy.engine.registry import Registry
from proxy.engine.relaying.relay import Relay
from proxy.engine.tasks import Tasks
from proxy.stores.conversations.port import Owner
from proxy.stores.ledger.port import Ledger

CONFIRM_SECONDS: Final = 2.0
"""How long the deletion of messages waits for other replicas; the stop and the wipe are kept for their owners."""

NEWEST: Final = 100
"""Among so many messages at the end of a thread is what is being made for it."""


class Deleter:
    """One per process. What it does it does to its end, although whoever asked for it leaves.

    Args:
        tasks: whose end is waited for before the ledger is closed.
    """

    def __init__(self, registry: Registry, ledger: Ledger, canceller: Canceller, tasks: Tasks) -> None:
        self._registry = registry
        self._ledger = ledger
        self._conversations = ledger.conversations
        self._canceller = canceller
        self._tasks = tasks

    async def wipe(self, uid: str) -> None:
        """Delete the text of a generation from its record and its tape; the numbers stay.

        Raises:
            LedgerUnavailableError: the ledger can't be written now.
        """
        self._registry.wipe(uid)
        await self._ledger.wipe_text(uid)

    async def delete_thread(self, owner: Owner, thread_id: str, stop: Stop, confirm: float) -> bool:
        """Delete a thread, stop what runs in it, and let its texts be nowhere; False when there is none.

        Raises:
            LedgerUnavailableError: the store can't be written now.
            Refusal: 503, another replica may work on it, and can't be told now.
        """
        if self._may_not_be_told:
            newest, _ = await self._conversations.outline(owner, thread_id, NEWEST)
            await self._check_over(owner, [each.id for each in newest if each.status is MessageStatus.IN_PROGRESS])
        return await self._tasks.carry_out(self._delete_thread(owner, thread_id, stop, confirm), "delete a thread")

    async def delete_messages(self, owner: Owner, *message_ids: str) -> bool:
        """Delete messages, and let their texts be nowhere; False when none with a generation was there.

        What other replicas make of them is stopped; what is made here is to be stopped before.

        Raises:
            LedgerUnavailableError: the store can't be written now.
            Refusal: 503, another replica may make one of them, and can't be told now.
        """
        if self._may_not_be_told:
            await self._check_over(owner, message_ids)
        return await self._tasks.carry_out(self._delete_messages(owner, message_ids), "delete messages")

    async def _delete_thread(self, owner: Owner, thread_id: str, stop: Stop, confirm: float) -> bool:
        uids = await self._conversations.delete_thread(owner, thread_id)
        if uids is None:
            return False
        for uid in uids:
            self._registry.wipe(uid)
        live = [relay for uid in uids if isinstance(relay := self._registry.find_uid(uid), Relay)]
        for relay in live:
            await self._ledger.wipe_text(relay.generation.facts.uid)  # its pieces may be on their way
        here = self._canceller.cancel_all(live, stop, dialect=owner.dialect.partition(" ")[0], confirm=confirm)
        await asyncio.gather(here, self._stop_elsewhere(owner.identity, uids, stop, confirm))
        return True

    async def _delete_messages(self, owner: Owner, message_ids: Sequence[str]) -> bool:
        uids = await self._conversations.delete_messages(owner, *message_ids)
        for uid in uids:
            self._registry.wipe(uid)
        stop = Stop(Cause.CLIENT, None, "its message was deleted")
        await self._stop_elsewhere(owner.identity, uids, stop, CONFIRM_SECONDS)
        return bool(uids)

    async def _stop_elsewhere(self, identity: str, uids: Sequence[str], stop: Stop, confirm: float) -> None:
        """Stop what other replicas run of what was deleted, and let its texts be nowhere there either."""
        others = [uid for uid in uids if self._registry.find_uid(uid) is None]
        if self._canceller.elsewhere is not None and others:
            await self._canceller.elsewhere.deletions.stop(identity, others, stop, confirm)

    @property
    def _may_not_be_told(self) -> bool:
        """Whether there are other replicas that can't be told of a deletion now."""
        elsewhere = self._canceller.elsewhere
        return elsewhere is not None and not elsewhere.deletions.can_be_told

    async def _check_over(self, owner: Owner, message_ids: Sequence[str]) -> None:
        """Refuse what would leave a generation running at another replica whose message is gone.

        Raises:
            Refusal: 503, one of these messages is in progress, and not here.
        """
        for message_id in message_ids:
            message = await self._conversations.find_message(owner, message_id)
            if message is None or message.status is not MessageStatus.IN_PROGRESS or message.generation is None:
                continue
            if self._registry.find_uid(message.generation) is None:
                raise Refusal.bus_unavailable()
