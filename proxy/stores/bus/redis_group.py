"""What Redis or Valkey knows of all replicas together: the half of `RedisBus` behind `GroupBus`."""

import asyncio
import time
from collections.abc import Collection, Iterable, Sequence
from typing import Any, Final

from proxy.core.record_bytes import record_of
from proxy.stores.bus import group_scripts as scripts
from proxy.stores.bus.connect import ANSWER_SECONDS, Client, milliseconds, reason
from proxy.stores.bus.group import BURIAL_SECONDS, CLAIM_SECONDS, Holder
from proxy.stores.bus.line import Line
from proxy.stores.bus.names import Keys, Names
from proxy.stores.bus.port import KEPT_SECONDS, BusUnavailableError, Place

ASKED_AT_ONCE: Final = 500
OVERDUE_LEASES: Final = 6.0
"""So many leases behind the end of its lease a replica is gone although its connection is open: a machine that vanished
without a word leaves that behind, for as long as the server believes in it."""
LETTER: Final = b"L"
"""What a published letter begins with."""


class RedisGroup:
    """One replica's way to all of them. `is_up`: whether the bus can be used."""

    def __init__(self, client: Client, line: Line, names: Names, replica: str, process: str, lease: float) -> None:
        self.replica = replica
        self.is_up = False
        self._lease = lease
        self._lapsed: dict[str, float] = {}
        self._client = client
        self._line = line
        self._names = names
        self._process = process

    async def replicas(self) -> list[str]:
        """Those that there are, see `GroupBus`."""
        self._check()
        found: list[bytes] = await self._line.call("ZRANGE", self._names.replicas, 0, -1)
        return sorted(name.decode(errors="replace") for name in found)

    async def owners(self, identity: str) -> list[str]:
        """Who runs something of an identity's, see `GroupBus`."""
        found: list[bytes] = await self._ask(scripts.OWNERS, [self._names.of(identity).live])
        return sorted(name.decode(errors="replace") for name in found)

    async def left_with(self, replica: str, identity: str | None) -> list[Place]:
        """What a replica runs, see `GroupBus`."""
        everybody = [self._names.of(identity)] if identity is not None else await self._identities(replica)
        found: list[Place] = []
        for keys in everybody:
            rows = await self._ask(scripts.LEFT, [keys.live], replica, keys.generations)
            found += _places(rows, replica, is_over=False)
        return found

    async def places(self, identity: str, uids: Sequence[str]) -> list[Place]:
        """Where generations are, see `GroupBus`."""
        keys = self._names.of(identity)
        found: list[Place] = []
        for start in range(0, len(uids), ASKED_AT_ONCE):
            some = uids[start : start + ASKED_AT_ONCE]
            rows = await self._ask(scripts.PLACES, [f"{keys.generations}{uid}" for uid in some], *some)
            found += [
                Place(uid.decode(), identity, replica.decode(errors="replace"), state == b"over", about)
                for uid, replica, state, about in rows
            ]
        return found

    async def post(self, replica: str, number: str, letter: bytes) -> int:
        """Keep and send, see `GroupBus`."""
        names = self._names
        lifetime = milliseconds(KEPT_SECONDS)
        where, channel = [names.mail(replica)], names.channel(replica)
        return int(await self._ask(scripts.POST, where, number, letter, lifetime, channel, LETTER + letter))

    def taken(self, number: str) -> None:
        """It was read, see `GroupBus`."""
        self._line.call("HDEL", self._names.mail(self.replica), number)

    async def claim(self, identity: str, task_id: str, uid: str, but: Collection[str]) -> Holder | list[bytes]:
        """Claim an id, see `GroupBus`."""
        keys = self._names.of(identity)
        where = [keys.id(task_id), f"{keys.generations}{uid}", f"{keys.waits}{keys.hashed(task_id)}"]
        lifetime = milliseconds(CLAIM_SECONDS)
        done, *said = await self._ask(scripts.CLAIM, where, uid, self.replica, lifetime, keys.generations, *but)
        if done:
            stops: list[bytes] = said[0]
            return stops
        other, replica, state = said
        return Holder(other.decode(errors="replace"), replica.decode(errors="replace"), state == b"live")

    def give_up(self, identity: str, task_id: str, uid: str) -> None:
        """Let a claimed id go, see `GroupBus`."""
        keys = self._names.of(identity)
        self._line.note(scripts.GIVE_UP, [keys.id(task_id), f"{keys.generations}{uid}"], uid)

    async def is_alive(self, replica: str) -> bool:
        """Whether a replica holds its lease, see `Bus`."""
        self._check()
        return bool(await self._line.call("EXISTS", self._names.lease(replica)))

    async def is_dead(self, replica: str) -> bool:
        """Whether a replica is gone, see `GroupBus`."""
        return not await self.is_alive(replica) and (self._is_overdue(replica) or await self.is_unheard(replica))

    def _note_lapsed(self, lapsed: Iterable[str]) -> None:
        """The replicas whose leases are over now. Since when is told by our clock, and only while we hear the bus.

        One that stood still ends all leases at once, and so does one whose clock jumped.
        """
        now = time.monotonic()
        self._lapsed = {replica: self._lapsed.get(replica, now) for replica in lapsed}

    def _is_overdue(self, replica: str) -> bool:
        now = time.monotonic()
        return now - self._lapsed.get(replica, now) > OVERDUE_LEASES * self._lease

    async def is_unheard(self, replica: str) -> bool:
        """Whether nobody listens for a replica, see `GroupBus`."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                found = await self._client.pubsub_numsub(self._names.channel(replica))
        except Exception as error:
            raise BusUnavailableError(reason(error)) from error
        return not any(int(count) for _, count in found)

    async def begin_burial(self, replica: str) -> bool:
        """Whether it is ours to do, see `GroupBus`."""
        names = self._names
        where = [names.lease(replica), names.burial(replica), names.replicas]
        return bool(await self._ask(scripts.DEATH, where, self._process, milliseconds(BURIAL_SECONDS), replica))

    async def bury(self, replica: str) -> list[Place]:
        """End what a dead replica ran, see `GroupBus`."""
        found: list[Place] = []
        for keys in await self._identities(replica):
            rows = await self._ask(scripts.BURY, [keys.live], replica, keys.generations)
            found += _places(rows, replica, is_over=True)
        return found

    async def end_burial(self, replica: str) -> None:
        """A dead replica is known no more, see `GroupBus`."""
        names = self._names
        where = [names.lease(replica), names.burial(replica), names.replicas, names.identities(replica)]
        await self._ask(scripts.BURIED, where, replica)

    async def _identities(self, replica: str) -> list[Keys]:
        self._check()
        found: list[bytes] = await self._line.call("SMEMBERS", self._names.identities(replica))
        return [self._names.at(prefix.decode(errors="replace")) for prefix in sorted(found)]

    async def _ask(self, script: str, keys: list[str], *words: str | bytes | int) -> Any:
        self._check()
        return await self._line.eval(script, keys, *words)

    def _check(self) -> None:
        if not self.is_up:
            raise BusUnavailableError("the bus is down")


def _places(rows: list[list[bytes]], replica: str, *, is_over: bool) -> list[Place]:
    """What scripts gave, but for what another version or somebody else wrote."""
    found = [(uid, about, record_of(about)) for uid, about in rows]
    return [
        Place(uid.decode(errors="replace"), record.identity, replica, is_over, about)
        for uid, about, record in found
        if record is not None
    ]
