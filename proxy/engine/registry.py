"""The registry: which id is which generation. Decides, never waits.

An id is looked up for one identity only. Task ids go before aliases (message ids, upstream ids); an alias that two
live generations of one caller share names neither.
"""

import heapq
from collections.abc import Callable, Iterator
from dataclasses import replace

from proxy.core.errors import Refusal
from proxy.core.generation import Stop
from proxy.core.lifecycle import Outcome
from proxy.core.record import Record
from proxy.engine.relaying.finished import Finished
from proxy.engine.relaying.head import Ending
from proxy.engine.relaying.relay import Relay
from proxy.engine.relaying.tape_limits import MEMORY_BYTES, REST_BYTES
from proxy.engine.tombstones import Tombstones

FINISHED_SECONDS = 60.0
FINISHED_MOST = 20_000
"""Ended generations whose tape is still served; beyond it those go early that have the least time left, so that short
answers at a high rate can't fill the memory."""
FINISHED_BYTES = 64 * 1024 * 1024
"""Memory that the tapes and texts of ended generations may take at the most; beyond it those go early that have the
least time left, so that long answers can't fill a small machine either: what runs needs the memory more."""
KEPT_TEXT = 4 * 1024
"""Characters of a text that is kept here; a longer one is read from the ledger when somebody asks for it."""

Key = tuple[str, str]


class Registry:
    """The generations of this replica."""

    def __init__(self) -> None:
        self._live: dict[str, Relay] = {}
        self._named: dict[Key, Relay] = {}
        self._aliases: dict[Key, list[Relay]] = {}
        self._streams: dict[str, int] = {}
        self._finished: dict[str, Finished] = {}
        self._finished_bytes = 0
        self._finished_ids: dict[Key, str] = {}
        self._kept_until: list[tuple[float, str]] = []
        self._tombstones = Tombstones()
        self.on_leave: Callable[[Relay], None] | None = None
        """Told of each that counts as its caller's no more."""
        self.changes = 0
        """How often one came or went: whoever shows what lives looks again when this has changed."""

    def __len__(self) -> int:
        return len(self._live)

    def __iter__(self) -> Iterator[Relay]:
        return iter(list(self._live.values()))

    @property
    def oldest_start(self) -> float | None:
        """When the oldest live generation was admitted, in monotonic seconds; None: there is none."""
        oldest = next(iter(self._live.values()), None)  # they stand in the order in which they came
        return None if oldest is None else oldest.generation.facts.started

    def streams_of(self, identity: str) -> int:
        """Live generations of one caller."""
        return self._streams.get(identity, 0)

    def check_free(self, identity: str, task_id: str) -> None:
        """Make sure a chosen id is free. It is again when its generation has ended, durably or not: its client knows.

        Raises:
            Refusal: 400, a running generation of the same caller has it.
        """
        named = self._named.get((identity, task_id))
        if named is not None and named.generation.outcome is Outcome.RUNNING:
            raise Refusal.id_in_use()

    def add(self, relay: Relay) -> None:
        """Make a generation known by its task id and message id."""
        facts = relay.generation.facts
        name = facts.identity.name
        self._live[facts.uid] = relay
        self.changes += 1
        self._named[name, facts.task_id] = relay
        for alias in (facts.message_id, *relay.plan.aliases):
            self.add_alias(relay, alias)
        self._streams[name] = self._streams.get(name, 0) + 1

    def add_alias(self, relay: Relay, alias: str) -> None:
        """Make a live generation known by one more id. One that is only read on any more gives it up for that."""
        relays = self._aliases.setdefault((relay.generation.facts.identity.name, alias), [])
        relays[:] = [other for other in relays if other.read_on is None and other is not relay]
        relays.append(relay)

    def find(self, identity: str, any_id: str) -> Relay | None:
        """The live generation that an id names for its owner."""
        relay = self._named.get((identity, any_id))
        if relay is not None:
            return relay
        meant = self._aliases.get((identity, any_id), ())
        return meant[0] if len(meant) == 1 else None

    def is_ambiguous(self, identity: str, any_id: str) -> bool:
        """Whether an id means several live generations of its owner, and so none."""
        return (identity, any_id) not in self._named and len(self._aliases.get((identity, any_id), ())) > 1

    def is_live(self, identity: str | None, any_id: str) -> bool:
        """Whether any live generation has this id, of this caller or (None) of anybody; one read on counts no more."""
        if identity is not None:
            named = self._named.get((identity, any_id))
            found = [*self._aliases.get((identity, any_id), ()), *([] if named is None else [named])]
        else:
            found = [relay for (_, name), relay in self._named.items() if name == any_id]
            found += [relay for (_, name), relays in self._aliases.items() if name == any_id for relay in relays]
        return any(relay.read_on is None for relay in found)

    def find_finished(self, identity: str, any_id: str) -> Finished | None:
        """The newest generation that an id names, among those that ended a short time ago."""
        uid = self._finished_ids.get((identity, any_id))
        return None if uid is None or self.is_ambiguous(identity, any_id) else self._finished[uid]

    def find_uid(self, uid: str) -> Relay | Finished | None:
        """The generation whose record has this `uid`: live, or ended a short time ago."""
        return self._live.get(uid) or self._finished.get(uid)

    def called(self, identity: str | None, any_id: str) -> list[Relay]:
        """All live generations that an id may mean, of an identity or (None) of anybody; task ids go before aliases."""
        if identity is not None:
            named = self._named.get((identity, any_id))
            return [named] if named is not None else list(self._aliases.get((identity, any_id), ()))
        found = [relay for (_, name), relay in self._named.items() if name == any_id]
        return found or [relay for (_, name), relays in self._aliases.items() if name == any_id for relay in relays]

    def find_anybodys(self, any_id: str) -> Relay | None:
        """For the operator: the one live generation with this id, whoever owns it; None also when several have it."""
        found = self.called(None, any_id)
        return found[0] if len(found) == 1 else None

    def find_anybodys_finished(self, any_id: str) -> Finished | None:
        """For the operator: the newest generation with this id that ended a short time ago."""
        found = [uid for (_, name), uid in self._finished_ids.items() if name == any_id]
        return self._finished.get(found[-1]) if found else None

    def release(self, relay: Relay, record: Record, now: float) -> list[Finished]:
        """A generation is settled: keep it for late readers. Gives those whose time is over."""
        facts = relay.generation.facts
        name = facts.identity.name
        self._live.pop(facts.uid, None)
        self.changes += 1
        if self._named.get((name, facts.task_id)) is relay:
            del self._named[name, facts.task_id]
        aliases = [facts.message_id, *relay.plan.aliases]
        if record.upstream_id is not None:
            aliases.append(record.upstream_id)
        for alias in aliases:
            self._drop_alias((name, alias), relay)
        if relay.read_on is None:
            self._leave(relay)
        self._finished[facts.uid] = relay.finished = finished = _finished(relay, record)
        if relay.wiped:
            finished.wipe()
        self._finished_bytes += finished.size
        for known in (facts.task_id, *aliases):
            self._name_finished((name, known), record)
        heapq.heappush(self._kept_until, (now + max(FINISHED_SECONDS, relay.rules.route.linger), facts.uid))
        return self._over(now)

    def let_go(self, relay: Relay) -> None:
        """The client is done with a generation whose upstream is read on: it counts as its caller's no more."""
        self._leave(relay)

    def _leave(self, relay: Relay) -> None:
        name = relay.generation.facts.identity.name
        if self.on_leave is not None:
            self.on_leave(relay)
        left = self._streams.pop(name, 1) - 1
        if left > 0:
            self._streams[name] = left

    def _drop_alias(self, key: Key, relay: Relay) -> None:
        relays = self._aliases.get(key, [])
        if relay in relays:
            relays.remove(relay)
        if not relays:
            self._aliases.pop(key, None)

    def _name_finished(self, key: Key, record: Record) -> None:
        """Let an id name this one, unless it names a newer one that was settled sooner. The newest stand last."""
        uid = self._finished_ids.get(key)
        if uid is None or self._finished[uid].record.started_at <= record.started_at:
            self._finished_ids.pop(key, None)
            self._finished_ids[key] = record.uid

    def expire(self, now: float) -> list[Finished]:
        """Give the ended generations whose time is over, and forget old tombstones."""
        self._tombstones.expire(now)
        return self._over(now)

    def _over(self, now: float) -> list[Finished]:
        over: list[Finished] = []
        read: list[str] = []
        while self._kept_until and (self._kept_until[0][0] <= now or self._are_too_many()):
            _, uid = heapq.heappop(self._kept_until)
            if self._finished[uid].readers:  # a slow one is still at it
                read.append(uid)
            else:
                over.append(self._forget(uid))
        for uid in read:
            heapq.heappush(self._kept_until, (now + FINISHED_SECONDS, uid))
        return over

    def _are_too_many(self) -> bool:
        return len(self._finished) > FINISHED_MOST or self._finished_bytes > FINISHED_BYTES

    def _forget(self, uid: str) -> Finished:
        finished = self._finished.pop(uid)
        self._finished_bytes -= finished.size
        record = finished.record
        for known in (record.task_id, record.message_id, record.upstream_id, *finished.aliases):
            key = (record.identity, known or "")
            if self._finished_ids.get(key) == uid:
                del self._finished_ids[key]
        return finished

    def wipe(self, uid: str) -> None:
        """Forget the text of a generation, in its record and on its tape; a live one's as soon as it is settled."""
        if (live := self._live.get(uid)) is not None:
            live.generation.text, live.wiped = "none", True
        elif (finished := self._finished.get(uid)) is not None:
            finished.wipe()

    # Stops that come before their generation.

    def remember_stop(self, identity: str, task_id: str, stop: Stop, now: float, user: str | None = None) -> None:
        """Keep a stop for an id not seen yet, for a short time; with `user` it is for that end user's only."""
        self._tombstones.remember(identity, task_id, stop, now, user)

    def take_stop(self, identity: str, task_id: str, now: float, user: str | None = None) -> Stop | None:
        """The stop that waits for this id of this end user, if it is not too old; it is used up."""
        return self._tombstones.take(identity, task_id, now, user)


def _finished(relay: Relay, record: Record) -> Finished:
    """What is kept of a settled generation: of a long text only that there is one."""
    text, tape = record.text or "", relay.tape
    whole = len(text) <= KEPT_TEXT
    if not whole:
        text, record = "", replace(record, text=None, text_clipped=True)
    size = len(text) + min(tape.end - tape.start, MEMORY_BYTES + REST_BYTES)
    return Finished(record, whole, tape, relay.readers, relay.ending or Ending.BROKEN, size, relay.plan.aliases)
