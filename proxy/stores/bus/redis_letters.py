"""What one replica says to another over Redis or Valkey: stops, letters, answers, parcels."""

from typing import Final

from proxy.stores.bus import scripts
from proxy.stores.bus.box import Box
from proxy.stores.bus.connect import Client, milliseconds
from proxy.stores.bus.line import Line
from proxy.stores.bus.names import Names
from proxy.stores.bus.port import (
    KEPT_EACH,
    KEPT_SECONDS,
    PARCEL_SECONDS,
    PARCELS_MOST,
    WAITING_EACH,
    WAITING_SECONDS,
    WAITING_USERS,
    KeptStop,
    Place,
)
from proxy.stores.bus.redis_group import LETTER, RedisGroup

INLINE_BYTES: Final = 16 * 1024
"""A longer letter is fetched: a server cuts off listeners for whom too much waits."""
REPLY_SECONDS: Final = 30.0
FETCH: Final = b"F"
"""What is published in place of an answer that is to be fetched begins with this."""


class RedisLetters(RedisGroup):
    """One replica's way to each of the others."""

    def __init__(self, client: Client, line: Line, names: Names, replica: str, process: str, lease: float) -> None:
        super().__init__(client, line, names, replica, process, lease)
        self._box = Box(client, line, names.parcels(replica))

    async def stop(self, place: Place, kept: KeptStop | None, sent: bytes) -> int | None:
        """Keep and send, see `Bus`."""
        keys = self._names.of(place.identity)
        where = [f"{keys.generations}{place.uid}", keys.stops]
        much: tuple[str | bytes | int, ...] = ("",)
        if kept is not None:
            much = (kept.number, kept.letter, 0 if kept.must_stay else KEPT_EACH, milliseconds(KEPT_SECONDS))
        heard = await self._ask(scripts.STOP, where, place.uid, self._names.channels, LETTER + sent, *much)
        return None if heard < 0 else int(heard)

    def withdraw(self, identity: str, uid: str, number: str) -> None:
        """A stop is kept no longer, see `Bus`."""
        self._line.call("HDEL", f"{self._names.of(identity).generations}{uid}:stops", number)

    async def leave_stop(self, identity: str, any_id: str, user: str | None, letter: bytes) -> bool:
        """Let a stop wait, see `Bus`."""
        keys = self._names.of(identity)
        hashed = keys.hashed(any_id)
        where = [keys.id(any_id), f"{keys.waits}{hashed}", keys.waiting]
        much = (milliseconds(WAITING_SECONDS), WAITING_EACH, keys.generations, keys.waits, hashed, WAITING_USERS)
        return bool(await self._ask(scripts.LEAVE, where, keys.user(user), letter, *much))

    async def send(self, replica: str, letter: bytes) -> int:
        """Send, see `Bus`."""
        names = self._names
        return int(await self._ask(scripts.SEND, [names.lease(replica)], names.channel(replica), LETTER + letter))

    def reply(self, replica: str, number: str, letter: bytes) -> None:
        """Answer, see `Bus`."""
        names = self._names
        sent = LETTER + letter if len(letter) <= INLINE_BYTES else FETCH + number.encode()
        where, lifetime = [names.reply(number)], milliseconds(REPLY_SECONDS)
        self._line.eval(scripts.REPLY, where, letter, lifetime, names.channel(replica), sent)

    async def find_reply(self, number: str) -> bytes | None:
        """A kept answer, see `Bus`."""
        self._check()
        found: bytes | None = await self._line.call("GET", self._names.reply(number))
        return found

    def drop_reply(self, number: str) -> None:
        """It was read, see `Bus`."""
        self._line.later("UNLINK", self._names.reply(number))

    async def ship(self, replica: str, parcel: bytes) -> None:
        """Put a parcel down, see `Bus`."""
        where = [self._names.parcels(replica)]
        await self._ask(scripts.SHIP, where, parcel, PARCELS_MOST, milliseconds(PARCEL_SECONDS))

    async def collect(self) -> list[bytes]:
        """Take the parcels, see `Bus`."""
        self._check()
        return await self._box.collect()
