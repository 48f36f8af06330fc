"""Chosen ids are claimed in the directory before their generations begin, so that no two replicas run one at once.

A claim goes its way while the request's body is read and its plan is made. Where the bus is away, or slow, only what is
known here counts.
"""

import asyncio
from typing import Final

from proxy.core.errors import Refusal
from proxy.core.generation import Stop
from proxy.core.ids import new_id
from proxy.core.letters import LetterError, Seal, StopWhenItComes
from proxy.core.lifecycle import Outcome
from proxy.engine.registry import Registry
from proxy.engine.relaying.relay import Relay
from proxy.engine.replicas.group import Group
from proxy.engine.replicas.undertaker import Undertaker
from proxy.engine.tasks import Tasks
from proxy.stores.bus.group import Holder
from proxy.stores.bus.port import WAITING_SECONDS, Bus, BusUnavailableError

CLAIM_WAIT: Final = 0.5
"""So long a start waits for the bus; then it goes on as if that were away."""
OWNER_WAIT: Final = 0.1
"""So long an owner may take to say whether what has the id still runs."""
TRIES: Final = 8
"""How often an id is tried whose holders are over by now, or undecided."""
UNDECIDED_SECONDS: Final = 0.02
UNDECIDED_TRIES: Final = 3
"""How often who has claimed the id, and has not begun, is looked at again: it may come to nothing in a moment."""


class Claim:
    """One chosen id that is being claimed. `uid` is that of the generation that is to have it."""

    def __init__(self, claiming: "Claiming", identity: str, task_id: str) -> None:
        self.uid = new_id()
        self.identity = identity
        self.task_id = task_id
        self._claiming = claiming
        self._waiting: list[StopWhenItComes] = []
        self._task = claiming.start(self)
        self.is_used = False

    async def held(self) -> None:
        """Wait for it, for a bounded time.

        Raises:
            Refusal: 400, another replica runs a generation of this caller's with that id.
        """
        await asyncio.wait({self._task}, timeout=CLAIM_WAIT)
        if not self._task.done():
            return
        waiting = self._task.result()
        if waiting is None:
            raise Refusal.id_in_use()
        self._waiting = waiting

    def take_stop(self, user: str | None) -> Stop | None:
        """The stop that waited at the bus for this id, of this end user or of any."""
        for letter in self._waiting:
            if letter.user in (None, user):
                return letter.wish.stop()
        return None

    def use(self) -> None:
        """Its generation begins."""
        self.is_used = True
        self._claiming.used(self)

    def close(self) -> None:
        """The request is served; an id for which nothing began is free again."""
        if not self.is_used:
            self._task.add_done_callback(self._let_go)

    def _let_go(self, task: "asyncio.Task[list[StopWhenItComes] | None]") -> None:
        if not task.cancelled():
            self._claiming.give_up(self)


class Claiming:
    """Claims ids for this replica."""

    def __init__(self, bus: Bus, seal: Seal, group: Group, undertaker: Undertaker, registry: Registry) -> None:
        self._bus = bus
        self._seal = seal
        self._group = group
        self._undertaker = undertaker
        self._registry = registry
        self._tasks = Tasks()
        self._pending: set[str] = set()

    def claim(self, identity: str, task_id: str) -> Claim | None:
        """Begin to claim an id; None: the bus is away."""
        return Claim(self, identity, task_id) if self._bus.is_up else None

    def start(self, claim: Claim) -> "asyncio.Task[list[StopWhenItComes] | None]":
        """Claim; the task gives the stops that wait for the id, or None: it is in use."""
        self._pending.add(claim.uid)
        return self._tasks.start(self._claim(claim), "claim an id")

    def give_up(self, claim: Claim) -> None:
        """Nothing begins under it."""
        self._pending.discard(claim.uid)
        self._bus.give_up(claim.identity, claim.task_id, claim.uid)

    def used(self, claim: Claim) -> None:
        """Its generation has begun."""
        self._pending.discard(claim.uid)

    async def close(self) -> None:
        """End."""
        await self._tasks.cancel()

    async def _claim(self, claim: Claim) -> list[StopWhenItComes] | None:
        but: list[str] = []
        undecided = 0
        try:
            for _ in range(TRIES):
                if claim.is_used:  # the bus was too slow, and its generation runs: that is known, so nothing is claimed
                    break
                said = await self._bus.claim(claim.identity, claim.task_id, claim.uid, but)
                if not isinstance(said, Holder):
                    return self._meant(claim, said)
                if not await self._is_in_use(claim, said):
                    but.append(said.uid)
                elif said.is_begun or undecided == UNDECIDED_TRIES:
                    return None
                else:
                    undecided += 1
                    await asyncio.sleep(UNDECIDED_SECONDS)
        except BusUnavailableError:
            pass
        return []

    async def _is_in_use(self, claim: Claim, holder: Holder) -> bool:
        """Whether who has the id runs it still: the directory hears of an end a moment after its client."""
        if holder.replica == self._bus.replica:
            found = self._registry.find_uid(holder.uid)
            runs = isinstance(found, Relay) and found.generation.outcome is Outcome.RUNNING
            return runs or holder.uid in self._pending
        if holder.is_begun:
            said = await self._group.find_at(holder.replica, claim.identity, claim.task_id, OWNER_WAIT)
            if said is not None:
                return any(each.uid == holder.uid and each.outcome is Outcome.RUNNING for each in said)
        return not await self._undertaker.is_dead(holder.replica, 0.0)

    def _meant(self, claim: Claim, letters: list[bytes]) -> list[StopWhenItComes]:
        """The stops among these letters that are for this id, and not too old."""
        found = []
        for letter in letters:
            try:
                opened = self._seal.open_kept(letter)
            except LetterError:  # it is counted where it is used up
                continue
            if isinstance(opened, StopWhenItComes) and self._bus.now() - opened.at <= 2 * WAITING_SECONDS:
                is_meant = (opened.identity, opened.any_id) == (claim.identity, claim.task_id)
                found += [opened] if is_meant else []
        return found
