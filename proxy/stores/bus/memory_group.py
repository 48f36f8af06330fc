"""What the replicas of one process share in place of a server, and the half of `MemoryBus` behind `GroupBus`."""

import time
from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from proxy.stores.bus.group import Holder
from proxy.stores.bus.port import OVER_SECONDS, BusUnavailableError, Place

if TYPE_CHECKING:
    from proxy.stores.bus.memory import MemoryBus

Key = tuple[str, str]
"""Identity and id."""


@dataclass(slots=True)
class Known:
    """A generation, as the hub knows it."""

    place: Place
    order: int
    ids: dict[str, bool]
    """Each id, and whether it is the task id."""
    until: float | None = None
    stops: dict[str, bytes] = field(default_factory=dict)
    """Those that are kept for its owner, by their numbers."""


@dataclass(slots=True)
class MemoryHub:
    """What the replicas share. `now` is the clock; `is_down` makes it unavailable."""

    now: Callable[[], float] = time.monotonic
    is_down: bool = False
    known: dict[str, Known] = field(default_factory=dict)
    waiting: OrderedDict[tuple[str, str, str | None], tuple[float, bytes]] = field(default_factory=OrderedDict)
    replies: dict[str, bytes] = field(default_factory=dict)
    open: dict[str, "MemoryBus"] = field(default_factory=dict)
    count: int = 0
    lapsed: set[str] = field(default_factory=set)
    """Replicas that ended without closing."""
    buried_by: dict[str, str] = field(default_factory=dict)
    claims: dict[Key, tuple[str, str]] = field(default_factory=dict)
    """Claimed ids: for which generation, by whom."""
    mail: dict[str, dict[str, bytes]] = field(default_factory=dict)
    parcels: dict[str, deque[bytes]] = field(default_factory=dict)


class MemoryGroup:
    """One replica's way to all of them over a hub."""

    def __init__(self, hub: MemoryHub, replica: str) -> None:
        self._hub = hub
        self.replica = replica

    @property
    def strangers(self) -> list[str]:
        """There is no secret here."""
        return []

    async def replicas(self) -> list[str]:
        """Those that are open, or ended without closing."""
        self._check()
        return sorted({*self._hub.open, *self._hub.lapsed})

    async def owners(self, identity: str) -> list[str]:
        """Who runs something of an identity's."""
        self._check()
        return sorted({known.place.replica for known in self._live() if known.place.identity == identity})

    async def left_with(self, replica: str, identity: str | None) -> list[Place]:
        """What a replica runs."""
        self._check()
        found = [known.place for known in self._live() if known.place.replica == replica]
        return [place for place in found if identity in (None, place.identity)]

    async def places(self, identity: str, uids: Sequence[str]) -> list[Place]:
        """Where generations are."""
        self._check()
        found = [self._hub.known[uid].place for uid in uids if uid in self._hub.known]
        return [place for place in found if place.identity == identity]

    async def post(self, replica: str, number: str, letter: bytes) -> int:
        """Keep and send."""
        self._check()
        self._hub.mail.setdefault(replica, {})[number] = letter
        return self._deliver(replica, letter)

    def taken(self, number: str) -> None:
        """It was read."""
        self._hub.mail.get(self.replica, {}).pop(number, None)

    async def claim(self, identity: str, task_id: str, uid: str, but: Collection[str]) -> Holder | list[bytes]:
        """Claim an id."""
        self._check()
        hub = self._hub
        for known in self._live():
            if known.place.identity == identity and known.ids.get(task_id) and known.place.uid not in {uid, *but}:
                return Holder(known.place.uid, known.place.replica, is_begun=True)
        other, replica = hub.claims.get((identity, task_id), (uid, self.replica))
        if other not in {uid, *but}:
            return Holder(other, replica, is_begun=False)
        if uid not in hub.known:
            hub.claims[identity, task_id] = uid, self.replica
        now = self._hub.now()
        return [
            letter
            for (whose, any_id, _), (until, letter) in hub.waiting.items()
            if (whose, any_id) == (identity, task_id) and until > now
        ]

    def give_up(self, identity: str, task_id: str, uid: str) -> None:
        """Let a claimed id go."""
        if self._hub.claims.get((identity, task_id), ("", ""))[0] == uid:
            del self._hub.claims[identity, task_id]

    async def is_alive(self, replica: str) -> bool:
        """Whether it was opened and not closed."""
        self._check()
        return replica in self._hub.open

    async def is_unheard(self, replica: str) -> bool:
        """Whether it is not open."""
        return not await self.is_alive(replica)

    async def is_dead(self, replica: str) -> bool:
        """Whether it is not open."""
        return not await self.is_alive(replica)

    async def begin_burial(self, replica: str) -> bool:
        """Whether it is ours to do."""
        self._check()
        hub = self._hub
        return replica in hub.lapsed and hub.buried_by.setdefault(replica, self.replica) == self.replica

    async def bury(self, replica: str) -> list[Place]:
        """End what a dead replica ran."""
        self._check()
        left = [known for known in self._live() if known.place.replica == replica]
        for known in left:
            known.place = replace(known.place, is_over=True)
            known.until = self._hub.now() + OVER_SECONDS
            known.stops.clear()
        return [known.place for known in left]

    async def end_burial(self, replica: str) -> None:
        """A dead replica is known no more."""
        self._check()
        self._hub.lapsed.discard(replica)
        self._hub.buried_by.pop(replica, None)
        self._hub.mail.pop(replica, None)

    def _live(self) -> list[Known]:
        return [known for known in self._hub.known.values() if not known.place.is_over]

    def _deliver(self, replica: str, letter: bytes) -> int:
        bus = self._hub.open.get(replica)
        return 0 if bus is None else bus.take(letter)

    def _check(self) -> None:
        if self._hub.is_down:
            raise BusUnavailableError
