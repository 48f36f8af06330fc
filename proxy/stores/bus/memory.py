"""A bus in memory: several replicas of one process, for tests and as the plainest form of what a bus is."""

import asyncio
import contextlib
from collections import deque
from dataclasses import replace

from proxy.stores.bus.choice import Candidate, choose
from proxy.stores.bus.memory_group import Known, MemoryGroup, MemoryHub
from proxy.stores.bus.port import (
    COLLECT_SECONDS,
    KEPT_EACH,
    OVER_SECONDS,
    PARCELS_MOST,
    WAITING_EACH,
    WAITING_SECONDS,
    WAITING_USERS,
    Inbox,
    KeptStop,
    Owned,
    Place,
)


class MemoryBus(MemoryGroup):
    """One replica's way to the others over a hub. A lease here ends with `close`, or with the hub's forgetting."""

    def __init__(self, hub: MemoryHub, replica: str) -> None:
        super().__init__(hub, replica)
        self._inbox: Inbox | None = None
        self._parcel = asyncio.Event()

    @property
    def place(self) -> str:
        """It is in this process."""
        return "memory"

    @property
    def is_up(self) -> bool:
        """Whether it can be used."""
        return not self._hub.is_down

    def now(self) -> float:
        """The hub's clock."""
        return self._hub.now()

    async def open(self, inbox: Inbox) -> None:
        """Begin."""
        self._inbox = inbox
        self._hub.open[self.replica] = self
        inbox.changed(is_up=self.is_up)

    def own(self, owned: Owned) -> None:
        """Make known, see `Bus`."""
        hub, uid = self._hub, owned.uid
        hub.count += 1
        place = Place(uid, owned.identity, self.replica, is_over=False, about=owned.about)
        ids = dict.fromkeys((owned.message_id, *owned.aliases), False) | {owned.task_id: True}
        self.give_up(owned.identity, owned.task_id, uid)
        hub.known[uid] = Known(place, hub.count, ids)
        for any_id in (owned.task_id, owned.message_id):
            for user in dict.fromkeys((owned.user, None)):
                until, letter = hub.waiting.pop((owned.identity, any_id, user), (0.0, b""))
                if until > self.now() and self._inbox is not None:
                    asyncio.get_running_loop().call_soon(self._inbox.found_waiting, uid, letter)

    def alias(self, uid: str, any_id: str, about: bytes) -> None:
        """One more id."""
        known = self._hub.known[uid]
        known.place = replace(known.place, about=about)
        known.ids.setdefault(any_id, False)

    def release(self, uid: str, about: bytes) -> None:
        """It is over."""
        known = self._hub.known[uid]
        known.place = replace(known.place, is_over=True, about=about)
        known.until = self.now() + OVER_SECONDS
        known.stops.clear()

    async def find(self, identity: str, any_id: str) -> Place | None:
        """Look an id up."""
        self._check()
        now = self.now()
        for uid in [uid for uid, known in self._hub.known.items() if known.until is not None and known.until <= now]:
            del self._hub.known[uid]
        found = [
            Candidate(known.place, known.ids[any_id], known.order)
            for known in self._hub.known.values()
            if known.place.identity == identity and any_id in known.ids
        ]
        dead = {each.place.replica for each in found} - set(self._hub.open)
        return choose(found, dead)

    async def knows_all(self) -> bool:
        """It forgets nothing."""
        self._check()
        return True

    async def stop(self, place: Place, kept: KeptStop | None, sent: bytes) -> int | None:
        """Keep and send."""
        self._check()
        known = self._hub.known.get(place.uid)
        if known is None:
            return None
        if kept is not None and not known.place.is_over and (kept.must_stay or len(known.stops) < KEPT_EACH):
            known.stops[kept.number] = kept.letter
        return self._deliver(known.place.replica, sent)

    def withdraw(self, identity: str, uid: str, number: str) -> None:
        """A stop is kept no longer."""
        known = self._hub.known.get(uid)
        if known is not None and known.place.identity == identity:
            known.stops.pop(number, None)

    async def leave_stop(self, identity: str, any_id: str, user: str | None, letter: bytes) -> bool:
        """Let a stop wait."""
        self._check()
        if any(
            known.place.identity == identity and any_id in known.ids and not known.place.is_over
            for known in self._hub.known.values()
        ):
            return False
        waiting = self._hub.waiting
        waiting.pop((identity, any_id, user), None)
        now, own = self.now(), [key for key in waiting if key[0] == identity]
        for key in [key for key in own if waiting[key][0] <= now]:
            own.remove(key)
            del waiting[key]
        same = [key for key in own if key[1] == any_id]
        if len(same) >= WAITING_USERS:
            del waiting[same[0]]
        elif len(own) >= WAITING_EACH:
            del waiting[own[0]]
        waiting[identity, any_id, user] = (self.now() + WAITING_SECONDS, letter)
        return True

    async def send(self, replica: str, letter: bytes) -> int:
        """Send."""
        self._check()
        return self._deliver(replica, letter)

    def reply(self, replica: str, number: str, letter: bytes) -> None:
        """Answer."""
        self._hub.replies[number] = letter
        self._deliver(replica, letter)

    async def find_reply(self, number: str) -> bytes | None:
        """A kept answer."""
        self._check()
        return self._hub.replies.get(number)

    def drop_reply(self, number: str) -> None:
        """It was read."""
        self._hub.replies.pop(number, None)

    async def ship(self, replica: str, parcel: bytes) -> None:
        """Put a parcel down."""
        self._check()
        self._hub.parcels.setdefault(replica, deque(maxlen=PARCELS_MOST)).append(parcel)
        if (bus := self._hub.open.get(replica)) is not None:
            bus._parcel.set()  # noqa: SLF001 the same class

    async def collect(self) -> list[bytes]:
        """Take the parcels."""
        self._check()
        if not self._hub.parcels.get(self.replica):
            self._parcel.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(COLLECT_SECONDS):
                    await self._parcel.wait()
        return list(self._hub.parcels.pop(self.replica, ()))

    def look(self) -> None:
        """Find what is kept for this replica and what it owns, and who is dead."""
        for uid, known in self._hub.known.items():
            if known.place.replica == self.replica and self._inbox is not None:
                for letter in list(known.stops.values()):
                    self._inbox.found_stop(uid, letter)
        if self._inbox is not None:
            for letter in list(self._hub.mail.get(self.replica, {}).values()):
                self._inbox.found_mail(letter)
            for replica in self._hub.lapsed - {self.replica}:
                self._inbox.lapsed(replica)

    async def close(self) -> None:
        """End."""
        self._hub.open.pop(self.replica, None)

    def die(self) -> None:
        """End without a word: what it ran stays known as running."""
        self._hub.open.pop(self.replica, None)
        self._hub.lapsed.add(self.replica)

    def take(self, letter: bytes) -> int:
        """A letter came; gives how many listen."""
        if self._inbox is None:
            return 0
        asyncio.get_running_loop().call_soon(self._inbox.got_letter, letter)
        return 1
