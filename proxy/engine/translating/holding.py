"""Holding what runs work on, where replicas share the conversations: at one time one of them, in memory and there."""

from proxy.core.ids import new_id
from proxy.core.lifecycle import RunState
from proxy.engine.translating.run import Run
from proxy.stores.conversations.holds import Held
from proxy.stores.conversations.port import Conversations


class Holding:
    """The holds of this replica's runs. Where nobody shares the store, each is given, and nothing is asked."""

    def __init__(self, conversations: Conversations) -> None:
        self._holds = conversations.holds
        self._held: dict[Run, Held] = {}

    async def take(self, run: Run, dialect: str, label: str) -> bool:
        """Hold what a run works on, unless that is so already; False: another replica works on it.

        Raises:
            LedgerUnavailableError: nobody can know now.
        """
        if self._holds is None or run in self._held:
            return True
        held = Held(run.identity.name, dialect, run.key, new_id())
        if not await self._holds.take(held, label):
            return False
        self._held[run] = held
        if run.is_over:
            self.let_go(run)
        return True

    def let_go(self, run: Run) -> None:
        """The run works no more."""
        held = self._held.pop(run, None)
        if held is not None and self._holds is not None:
            self._holds.let_go(held)

    async def free(self, run: Run, *, waits: bool) -> None:
        """What a run made is written, and its client hears of it next: from then on others may go on.

        `waits`: the results of tools are to come.
        """
        if waits and run.holds_waiting:
            return
        held = self._held.pop(run, None)
        if held is not None and self._holds is not None:
            await self._holds.free(held)

    def changed(self, run: Run) -> None:
        """A run has a new state. One that waits lets others at its thread, unless it is one that holds it."""
        if run.is_over or (run.state is RunState.WAITING and not run.holds_waiting):
            self.let_go(run)

    async def elsewhere(self, identity: str, dialect: str, key: str) -> str | None:
        """The label of what another replica's run works on; None: none does.

        Raises:
            LedgerUnavailableError: nobody can know now.
        """
        return None if self._holds is None else await self._holds.label(identity, dialect, key)
