"""What a replica makes known of its generations, and says again when it was lost."""

import asyncio
import time
from collections import OrderedDict, defaultdict
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from proxy.stores.bus import scripts
from proxy.stores.bus.connect import milliseconds
from proxy.stores.bus.group_scripts import NOTE
from proxy.stores.bus.line import Line
from proxy.stores.bus.names import Keys, Names
from proxy.stores.bus.port import OVER_SECONDS, Inbox, Owned

LIVE_SECONDS: Final = 600.0
"""How long what a dead replica left is known; a living one says it again sooner."""
AGAIN_SECONDS: Final = 200.0
LOOKED_AT_ONCE: Final = 500
"""So many generations are looked at in one step: a server does nothing else meanwhile."""
SAID_AT_ONCE: Final = 100
NOTED_AT_ONCE: Final = 1000
UNSAID_MOST: Final = 20_000
"""So many ends are remembered while the bus is away."""

_LIFETIME: Final = milliseconds(LIVE_SECONDS)
_OVER: Final = milliseconds(OVER_SECONDS)


@dataclass(slots=True)
class _Known:
    owned: Owned
    keys: Keys
    more: list[str] = field(default_factory=list)
    about: bytes = b""
    order: int = 0
    said_at: float = 0.0

    @property
    def key(self) -> str:
        return f"{self.keys.generations}{self.owned.uid}"

    @property
    def ids(self) -> list[str]:
        owned = self.owned
        return list(dict.fromkeys((owned.task_id, owned.message_id, *owned.aliases, *self.more)))


class Announcer:
    """Keeps what is owned, so that it can be said at any time."""

    def __init__(self, line: Line, names: Names, replica: str) -> None:
        self._line = line
        self._names = names
        self._replica = replica
        self._owned: dict[str, _Known] = {}
        self._over: OrderedDict[str, _Known] = OrderedDict()
        self._noted: set[str] = set()
        self._noted_at = 0.0
        self.inbox: Inbox

    def own(self, owned: Owned, *, now: bool) -> None:
        """Make known; `now` False: as soon as the bus is there."""
        known = self._owned[owned.uid] = _Known(owned, self._names.of(owned.identity), about=owned.about)
        if now:
            self._say(known)

    def alias(self, uid: str, any_id: str, about: bytes, *, now: bool) -> None:
        """One more id."""
        if (known := self._owned.get(uid)) is None:
            return
        known.more.append(any_id)
        known.about = about
        if now:
            where = [known.key, known.keys.id(any_id)]
            self._line.note(scripts.ALIAS, where, uid, about, _LIFETIME, known.keys.generations)

    def release(self, uid: str, about: bytes, *, now: bool) -> None:
        """It is over. Until the bus has heard that, it is remembered."""
        if (known := self._owned.pop(uid, None)) is None:
            return
        known.about = about
        self._over[uid] = known
        while len(self._over) > UNSAID_MOST:
            self._over.popitem(last=False)
        if now:
            self._say_over(known)

    def _say(self, known: _Known) -> "asyncio.Future[Any]":
        owned, keys = known.owned, known.keys
        waits = [f"{keys.waits}{keys.hashed(any_id)}" for any_id in dict.fromkeys((owned.task_id, owned.message_id))]
        known.said_at = time.monotonic()
        if keys.prefix not in self._noted:
            self._note([keys.prefix])
        said = self._line.note(
            scripts.OWN,
            [known.key, keys.live, *waits, *map(keys.id, known.ids)],
            owned.uid,
            self._replica,
            known.about,
            known.order,
            _LIFETIME,
            keys.user(owned.user),
            keys.generations,
            len(waits),
        )
        said.add_done_callback(partial(self._said, known))
        return said

    def _note(self, prefixes: list[str], *, anew: bool = False) -> None:
        """Let it be known whose generations run here, so that they are found when this replica is dead."""
        self._noted.update(prefixes)
        self._line.note(NOTE, [self._names.identities(self._replica)], _LIFETIME, int(anew), *prefixes)

    def _note_again(self) -> None:
        """The same for all, and no longer for those that have nothing here."""
        self._noted_at = time.monotonic()
        self._noted = {known.keys.prefix for known in (*self._owned.values(), *self._over.values())}
        prefixes = sorted(self._noted)
        self._note(prefixes[:NOTED_AT_ONCE], anew=True)
        for start in range(NOTED_AT_ONCE, len(prefixes), NOTED_AT_ONCE):
            self._note(prefixes[start : start + NOTED_AT_ONCE])

    def _said(self, known: _Known, answer: "asyncio.Future[Any]") -> None:
        if answer.cancelled() or answer.exception() is not None:
            return  # the line says that it failed, and all is said again
        order, *stops = answer.result()
        known.order = int(order)
        for stop in stops:
            self.inbox.found_waiting(known.owned.uid, stop)

    def _say_over(self, known: _Known) -> None:
        uid = known.owned.uid
        where = [known.key, known.keys.stops, known.keys.live, *map(known.keys.id, known.ids)]
        self._line.note(scripts.RELEASE, where, uid, known.about, _OVER).add_done_callback(partial(self._heard, uid))

    def _heard(self, uid: str, answer: "asyncio.Future[Any]") -> None:
        if not answer.cancelled() and answer.exception() is None:
            self._over.pop(uid, None)

    async def say_everything(self) -> None:
        """Say all of it again, a part at a time, so that others have their turn.

        Raises:
            BusUnavailableError: the bus could not take it.
        """
        self._note_again()
        for uid in list(self._over):
            if (known := self._over.get(uid)) is not None:
                if not known.order:  # it began and ended while the bus was away
                    self._say(known)
                self._say_over(known)
        await self._say_again(list(self._owned))

    async def look(self) -> None:
        """Find the stops that are kept for what is owned; say again what the bus has lost, or would forget soon.

        Raises:
            BusUnavailableError: the bus could not be asked.
        """
        groups: defaultdict[str, list[_Known]] = defaultdict(list)
        for known in self._owned.values():
            groups[known.owned.identity].append(known)
        for group in groups.values():
            for start in range(0, len(group), LOOKED_AT_ONCE):
                await self._look_at(group[start : start + LOOKED_AT_ONCE])
        old = time.monotonic() - AGAIN_SECONDS
        if self._noted_at < old:
            self._note_again()
        await self._say_again([uid for uid, known in self._owned.items() if known.said_at < old][:SAID_AT_ONCE])

    async def _look_at(self, group: list[_Known]) -> None:
        keys = group[0].keys
        where = [keys.stops, keys.live, *(known.key for known in group)]
        missing, stops = await self._line.eval(scripts.LOOK, where, _LIFETIME, keys.generations)
        if missing:
            await self._say_again([known.owned.uid for known in group])
        for uid, letter in zip(stops[::2], stops[1::2], strict=True):
            if (name := uid.decode(errors="replace")) in self._owned:
                self.inbox.found_stop(name, letter)

    async def _say_again(self, uids: list[str]) -> None:
        for start in range(0, len(uids), SAID_AT_ONCE):
            saying = [self._say(known) for uid in uids[start : start + SAID_AT_ONCE] if (known := self._owned.get(uid))]
            await asyncio.gather(*saying)
