"""A turn of a thread, over all its tool rounds: what it put in, and what a stop made of it.

Source: Aitronos' API documentation, cancelling a response: an early stop is an edit, and both messages vanish; a later
one keeps the partial answer. The mode is decided once, from the moment of the stop.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from proxy.core.conversation import Message, MessageStatus
from proxy.core.lifecycle import RunState
from proxy.engine.translating.run import Run
from proxy.stores.conversations.port import Conversations, Owner

CANCELLED: Final[Mapping[str, Any]] = {"cancelled": True}
"""What the metadata of a stopped answer say."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What a stop made of a turn. `elapsed` is seconds from the turn's start to the stop."""

    is_edit: bool
    elapsed: float

    def body(self) -> dict[str, Any]:
        """The answer to the stop."""
        return {
            "success": True,
            "cancel_mode": "quick_edit" if self.is_edit else "keep_partial",
            "elapsed_seconds": round(self.elapsed, 3),
            "user_message_deleted": self.is_edit,
            "assistant_response_deleted": self.is_edit,
            "partial_content_saved": not self.is_edit,
        }


@dataclass(slots=True)
class Turn:
    """One turn. `window`: seconds within which a stop is an edit. `started` as the run has it."""

    owner: Owner
    conversations: Conversations
    wipe: Callable[[str], Awaitable[None]]
    window: float
    started: float
    messages: list[str] = field(default_factory=list)
    """The ids of all that it put into the thread, in order."""
    decision: Decision | None = None

    def decide(self, elapsed: float) -> Decision:
        """What a stop at that time makes of the turn; the first answer stays."""
        if self.decision is None:
            self.decision = Decision(elapsed < self.window, elapsed)
        return self.decision

    async def apply(self, run: Run, stopped_at: float) -> Decision:
        """Decide, and change what is stored already: for a stop that no generation's end takes care of.

        A second time it changes what the first one could not.

        Raises:
            LedgerUnavailableError: it can't be written now.
        """
        decision = self.decide(max(stopped_at - self.started, 0.0))
        if decision.is_edit:
            try:
                await self.conversations.delete_messages(self.owner, *self.messages)
            finally:  # a deletion that is late comes all the same
                for past in run.past:
                    await self.wipe(past.uid)
        elif (answer := await self._last_answer()) is not None:
            metadata = {**answer.metadata, **CANCELLED}
            await self.conversations.update_message(self.owner, answer.id, metadata=metadata)
        return decision

    async def _last_answer(self) -> Message | None:
        for message_id in reversed(self.messages):  # a round that was not admitted has left ids without messages
            found = await self.conversations.find_message(self.owner, message_id)
            if found is not None and found.role == "assistant":
                return found
        return None


async def left(run: Run) -> None:
    """The run ended while it waited for results of tools: stopped, or nobody brought them, which changes nothing."""
    turn = turn_of(run)
    if run.state is RunState.STOPPED and turn is not None and run.stopped_at is not None:
        await turn.apply(run, run.stopped_at)


def turn_of(run: Run) -> Turn | None:
    """The turn that a run of this dialect is."""
    found = run.notes.get("turn")
    return found if isinstance(found, Turn) else None


def is_cancelled(status: MessageStatus, metadata: Mapping[str, Any]) -> bool:
    """Whether an answer was stopped."""
    return status is MessageStatus.CANCELLED or metadata.get("cancelled") is True
