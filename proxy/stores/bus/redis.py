"""The directory and the bus on Redis or Valkey. Needs the extra `distributed`.

`RedisGroup` asks about all replicas, `RedisLetters` speaks to one, `RedisBus` makes itself known and keeps the beat.
Signals and places only, never billing truth: all of it may be lost at any time, and is said again by the owners.
"""

import asyncio
import contextlib
import time
from collections.abc import Coroutine
from os import urandom
from typing import Any, Final

import structlog

from proxy.core.bus_address import BusAddress
from proxy.stores.bus import group_scripts, scripts
from proxy.stores.bus.announcer import Announcer
from proxy.stores.bus.choice import Candidate, choose, owners
from proxy.stores.bus.connect import connect, hint, let_go, milliseconds, reason
from proxy.stores.bus.line import Line
from proxy.stores.bus.listener import Listener
from proxy.stores.bus.names import Names
from proxy.stores.bus.port import BusUnavailableError, Inbox, Owned, Place
from proxy.stores.bus.redis_group import LETTER
from proxy.stores.bus.redis_letters import FETCH, RedisLetters
from proxy.stores.bus.strangers import Strangers

BEAT_SECONDS: Final = 1.0
LOOK_EVERY: Final = 2
"""Beats from one look at what is kept for this replica to the next."""
DOWN_BEAT_SECONDS: Final = 0.25
CLOSE_SECONDS: Final = 2.0
CANCEL_SECONDS: Final = 0.1

STALE_NAME_SECONDS: Final = 60.0
FILL_SECONDS: Final = 4.0
"""So long after it was emptied the directory is not complete: beats, looks, and the time to say thousands of ids."""
SINCE_SECONDS: Final = 86_400.0

_BEAT: Final = b"B"
_MILLION: Final = 1_000_000
_SINCE_DIGITS: Final = 12
"""More than any time in seconds has."""

log = structlog.get_logger()


class RedisBus(RedisLetters):
    """One replica's way to the others: what it makes known of itself, and its beat."""

    def __init__(self, address: BusAddress, secret: bytes, replica: str, lease: float) -> None:
        """Made of the settings; `open` begins. `lease` is in seconds."""
        client, names = connect(address), Names(secret)
        super().__init__(client, Line(client, self._broke), names, replica, urandom(8).hex(), lease)
        self.place = address.place
        channel = names.channel(replica)
        self._ear = Listener(client, channel, self._take, self._look_at_state, self._listens)
        self._announcer = Announcer(self._line, self._names, replica)
        self._strangers = Strangers(self._line, self._names, replica, lease, self.place)
        self._inbox: Inbox
        self._tasks: set[asyncio.Task[None]] = set()
        self._beat_now = asyncio.Event()
        self._ahead = 0.0  # of the bus's clock, before our steady one
        self._answers = False
        self._failure = ""
        self._beats = 0
        self._looks_due = 0
        self._named_at = 0.0

    @property
    def strangers(self) -> list[str]:
        """Who signs with another secret, see `GroupBus`."""
        return self._strangers.names

    def now(self) -> float:
        """The server's clock, as last heard."""
        return time.monotonic() + self._ahead if self._beats else time.time()

    async def open(self, inbox: Inbox) -> None:
        """Begin; waits a moment for the first beat, so that a bus that is there is used from the first call on."""
        self._inbox = inbox
        self._announcer.inbox = inbox
        self._start(self._line.run(), "the bus's line")
        self._start(self._ear.run(), "the bus's ear")
        first = asyncio.Event()
        self._start(self._beat_forever(first), "the bus's beat")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await first.wait()

    def own(self, owned: Owned) -> None:
        """Make known, see `Bus`."""
        self._announcer.own(owned, now=self.is_up)

    def alias(self, uid: str, any_id: str, about: bytes) -> None:
        """One more id, see `Bus`."""
        self._announcer.alias(uid, any_id, about, now=self.is_up)

    def release(self, uid: str, about: bytes) -> None:
        """It is over, see `Bus`."""
        self._announcer.release(uid, about, now=self.is_up)

    async def find(self, identity: str, any_id: str) -> Place | None:
        """Look an id up, see `Bus`."""
        keys = self._names.of(identity)
        found = await self._ask(scripts.FIND, [keys.id(any_id)], keys.generations)
        candidates = [each for row in found if (each := _candidate(identity, row)) is not None]
        dead = [replica for replica in sorted(owners(candidates)) if not await self.is_alive(replica)]
        return choose(candidates, dead)

    async def knows_all(self) -> bool:
        """Whether the directory is full, see `Bus`."""
        self._check()
        if self.strangers:
            return False
        since: bytes | None = await self._line.call("GET", self._names.since)
        if since is None or not since.isdigit() or len(since) > _SINCE_DIGITS:
            return False  # somebody wrote something else there; the next beat puts that right
        return self.now() - int(since) > FILL_SECONDS

    async def close(self) -> None:
        """Say what is to be said yet, give the lease back, and let go of all connections."""
        if not self._tasks:
            return
        self._strangers.leave()
        with contextlib.suppress(BusUnavailableError, TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._line.eval(
                    scripts.RETURN, [self._names.lease(self.replica), self._names.replicas], self._process, self.replica
                )
        while self._tasks:  # the client swallows a cancellation that comes while it gives up a connection
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(self._tasks, timeout=CANCEL_SECONDS)
        await let_go(self._client)

    # What comes.

    def _take(self, data: bytes) -> None:
        kind, rest = data[:1], data[1:]
        if kind == LETTER:
            self._inbox.got_letter(rest)
        elif kind == FETCH:
            self._start(self._fetch(rest.decode(errors="replace")), "fetch a reply")

    async def _fetch(self, number: str) -> None:
        with contextlib.suppress(BusUnavailableError):
            if (letter := await self.find_reply(number)) is not None:
                self._inbox.got_letter(letter)

    # The beat.

    async def _beat_forever(self, first: asyncio.Event) -> None:
        while True:
            try:
                async with asyncio.timeout(BEAT_SECONDS if self.is_up else DOWN_BEAT_SECONDS):
                    await self._beat_now.wait()
            except TimeoutError:
                pass
            self._beat_now.clear()
            try:
                await self._beat()
            except Exception as error:  # noqa: BLE001 whatever lies at the bus, the next beat has its chance
                self._broke(error)
            if self.is_up:
                first.set()

    async def _beat(self) -> None:
        names = self._names
        asked = time.monotonic()
        before, seconds, micros, lapsed, mail = await self._line.eval(
            scripts.BEAT,
            [names.lease(self.replica), names.since, names.replicas, names.mail(self.replica)],
            self._process,
            milliseconds(self._lease),
            names.channel(self.replica),
            _BEAT,
            milliseconds(SINCE_SECONDS),
            self.replica,
        )
        self._ahead = int(seconds) + int(micros) / _MILLION - (asked + time.monotonic()) / 2
        self._look_at_name(before.decode(errors="replace"))
        self._beats += 1
        self._answers = True
        was_up = self.is_up
        self._look_at_state()
        if self._beats == 1:
            await self._end_own_past()
        if not before or not was_up:  # it is new, or was restarted or emptied, or did not hear all
            await self._announcer.say_everything()
        if not was_up or self._looks_due or self._beats % LOOK_EVERY == 0:
            self._looks_due = max(self._looks_due - 1, 0)
            await self._announcer.look()
            await self._strangers.look()
        for letter in mail[1::2]:
            self._inbox.found_mail(letter)
        late = [replica.decode(errors="replace") for replica in lapsed]
        self._note_lapsed(late)
        for replica in late:
            self._inbox.lapsed(replica)
        self._failure = ""

    async def _end_own_past(self) -> None:
        """What a process of this name left, which died a moment ago: the ledger has ended that by now."""
        for prefix in await self._line.call("SMEMBERS", self._names.identities(self.replica)):
            keys = self._names.at(prefix.decode(errors="replace"))
            await self._line.eval(group_scripts.BURY, [keys.live], self.replica, keys.generations)

    def _look_at_name(self, holder: str) -> None:
        """Somebody else holds our lease: a process that died a moment ago, or one with our name."""
        if holder not in ("", self._process) and time.monotonic() - self._named_at > STALE_NAME_SECONDS:
            self._named_at = time.monotonic()
            if self._beats:
                log.error("bus.name_taken", replica=self.replica, hint="every replica needs a name of its own")

    def _listens(self) -> None:
        """Letters may have been missed: what is kept is looked at now, and what is too young for that a beat later."""
        self._looks_due = 2
        self._beat_now.set()

    def _look_at_state(self) -> None:
        is_up = self._answers and self._ear.is_heard
        if is_up == self.is_up:
            return
        self.is_up = is_up
        log.info("bus.up", bus=self.place) if is_up else log.warning("bus.down", bus=self.place)
        self._inbox.changed(is_up=is_up)
        if not is_up:
            self._lapsed.clear()
            # not at once: a server that refuses everything, quickly, would be asked without end
            asyncio.get_running_loop().call_later(DOWN_BEAT_SECONDS, self._beat_now.set)

    def _broke(self, error: Exception) -> None:
        """A pipeline failed, wholly or in part: all is said again as soon as the bus answers."""
        name = type(error).__name__
        if not isinstance(error, BusUnavailableError) and name != self._failure:
            self._failure = name
            log.warning("bus.failed", bus=self.place, error=name, why=reason(error), hint=hint(error))
        self._answers = False
        self._look_at_state()

    # Helpers.

    def _start(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _candidate(identity: str, row: list[bytes]) -> Candidate | None:
    """What the directory has; None: somebody wrote something else there."""
    uid, kind, replica, state, about, order = row
    try:
        place = Place(uid.decode(), identity, replica.decode(), state == b"over", about)
        return Candidate(place, kind == b"t", int(order))
    except (ValueError, AttributeError):
        return None
