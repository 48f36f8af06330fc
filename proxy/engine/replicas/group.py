"""Asking all other replicas at once: bulk stops, lists, and what an id means anywhere.

Owners act on their own generations. The answers are gathered for a bounded time; what could not be asked is said so.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Final, Literal

from proxy.core.chosen import Chosen
from proxy.core.generation import Stop
from proxy.core.letters import Answer, FindIt, Found, Listed, ListThese, Rows, Stopped, StopThese
from proxy.core.record import Record
from proxy.core.record_bytes import record_of
from proxy.engine.replicas.correspondence import Correspondence
from proxy.engine.replicas.undertaker import Undertaker
from proxy.engine.replicas.wishes import wish_of
from proxy.stores.bus.port import BusUnavailableError

LOOK_SECONDS: Final = 1.0
"""How long others may take to say what they run; a reader waits for the slowest."""

NEWEST: Final = Rows(sort="age", falls=False, over=())
"""Asks for the numbers so far, which go with what is shown without text."""

Asked = ListThese | FindIt | StopThese
Heard = Answer | BusUnavailableError | None
"""What a replica says: an answer, or nothing; or its letter may not have gone out."""
Origin = Literal["native", "admin"]


@dataclass(slots=True)
class Missing:
    """What an answer may lack. `unreachable`: replicas that did not say anything; `complete`: nothing is missing."""

    unreachable: list[str] = field(default_factory=list)
    complete: bool = True

    def lacks(self, replica: str) -> None:
        """A replica did not answer."""
        self.unreachable.append(replica)
        self.complete = False


@dataclass(slots=True)
class StoppedMany(Missing):
    """What a bulk stop did, by task ids. A kept letter stops what is unconfirmed because its owner said nothing."""

    matched: list[str] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)
    unconfirmed: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Living(Missing):
    """Records of what lives elsewhere, and by uid what each does, where its owner said so."""

    records: list[Record] = field(default_factory=list)
    states: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Meant(Missing):
    """What an id means elsewhere: each record, and at which replica."""

    found: list[tuple[str, Record]] = field(default_factory=list)


class Group:
    """What this replica asks of all others."""

    def __init__(self, letters: Correspondence, undertaker: Undertaker) -> None:
        self._letters = letters
        self.head = letters.head
        """Gives what every letter to a replica has."""
        self._bus = letters.bus
        self._undertaker = undertaker

    @property
    def is_up(self) -> bool:
        """Whether the bus can be used now, as far as is known."""
        return self._bus.is_up

    async def stop(self, chosen: Chosen, stop: Stop, *, dialect: Origin, confirm: float, dry: bool) -> StoppedMany:
        """Stop what is chosen on all other replicas; `dry`: only say what that is."""
        done = StoppedMany()

        def letter(replica: str) -> StopThese:
            head = self._letters.head(replica)
            return StopThese(**head, chosen=chosen, confirm=confirm, dialect=dialect, wish=wish_of(stop), dry=dry)

        for replica, said in (await self.ask_all(chosen, letter, confirm, done, kept=not dry)).items():
            if isinstance(said, Stopped):
                done.matched += said.matched
                done.stopped += said.stopped
                done.unconfirmed += said.unconfirmed
                continue
            left = [record.task_id for record in await self._left(replica, chosen, done)]
            done.matched += left
            if not dry and said is None:  # else no letter may be kept for it, and nothing was stopped
                done.stopped += left
                done.unconfirmed += left
        return done

    async def living(self, chosen: Chosen, before: tuple[float, str] | None, most: int, text: int) -> Living:
        """The newest `most` of what is chosen and lives elsewhere, behind a place in a list, in any order."""
        found = Living()
        rows = None if text else NEWEST

        def letter(replica: str) -> ListThese:
            head = self._letters.head(replica)
            return ListThese(**head, chosen=chosen, before=before, most=most, text=text, rows=rows)

        for replica, said in (await self.ask_all(chosen, letter, LOOK_SECONDS, found)).items():
            if isinstance(said, Listed):
                records = _records(said.records)
                found.records += records
                if said.table is not None and len(said.table.states) == len(records):
                    found.states |= zip((record.uid for record in records), said.table.states, strict=True)
            else:
                left = await self._left(replica, chosen, found)
                found.records += [each for each in left if before is None or (each.started_at, each.uid) < before]
        return found

    async def find_anybodys(self, any_id: str) -> Meant:
        """What an id means elsewhere, whoever owns it: what lives, else what is over; with their texts."""
        meant = Meant()

        def letter(replica: str) -> FindIt:
            return FindIt(**self._letters.head(replica), identity=None, any_id=any_id, whole=True)

        for replica, said in (await self.ask_all(Chosen(), letter, LOOK_SECONDS, meant)).items():
            if isinstance(said, Found):
                meant.found += [(replica, record) for record in _records(said.records)]
        return meant

    async def find_at(self, replica: str, identity: str, any_id: str, seconds: float) -> list[Record] | None:
        """What an id of an identity's means at one replica, without text; None: it does not say anything.

        Raises:
            BusUnavailableError: the bus can't be used now.
        """
        letter = FindIt(**self._letters.head(replica), identity=identity, any_id=any_id)
        with self._letters.expected(letter.number) as said:
            await self._bus.send(replica, self._letters.close(letter))
            answer = await self._letters.said(letter.number, said, seconds)
        return _records(answer.records) if isinstance(answer, Found) else None

    async def ask_all(
        self, chosen: Chosen, letter: Callable[[str], Asked], seconds: float, missing: Missing, *, kept: bool = False
    ) -> Mapping[str, Heard]:
        """What each other replica that may know says to a letter; dead ones are left out, and seen to.

        Args:
            chosen: what it is about; its identity says who may know.
            letter: writes the one to a replica.
            seconds: how long they may take.
            missing: is told what the answer lacks.
            kept: whether the letter waits at the bus for who does not hear it.
        """
        try:
            missing.complete = await self._bus.knows_all()
            missing.unreachable += self._bus.strangers
            whom = await self._whom(chosen)
            answers = await self._ask(whom, letter, seconds, kept=kept)
        except BusUnavailableError:
            missing.complete = False
            return {}
        for replica, answer in list(answers.items()):
            if isinstance(answer, Answer):
                continue
            if await self._is_dead(replica):
                del answers[replica]
            else:
                missing.lacks(replica)
        return answers

    async def _whom(self, chosen: Chosen) -> list[str]:
        bus, identity = self._bus, chosen.identity
        found = await bus.replicas() if identity is None else await bus.owners(identity)
        return [replica for replica in found if replica != bus.replica]

    async def _ask(
        self, whom: Iterable[str], letter: Callable[[str], Asked], seconds: float, *, kept: bool
    ) -> dict[str, Heard]:
        letters = {replica: letter(replica) for replica in whom}
        with ExitStack() as stack:
            expected = {to: stack.enter_context(self._letters.expected(each.number)) for to, each in letters.items()}

            async def ask(to: str, asked: Asked) -> Heard:
                """One that can't be asked must not cost the answers of the others."""
                sealed = self._letters.close(asked)
                try:
                    heard = await (self._bus.post(to, asked.number, sealed) if kept else self._bus.send(to, sealed))
                except BusUnavailableError as error:
                    return error
                try:
                    if not heard and await self._bus.is_unheard(to):
                        return None
                    return await self._letters.said(asked.number, expected[to], seconds)
                except BusUnavailableError:
                    return None

            said = await asyncio.gather(*(ask(to, each) for to, each in letters.items()))
        return dict(zip(letters, said, strict=True))

    async def _is_dead(self, replica: str) -> bool:
        try:
            return await self._undertaker.is_dead(replica)
        except BusUnavailableError:
            return False

    async def _left(self, replica: str, chosen: Chosen, missing: Missing) -> list[Record]:
        """What a silent replica runs of what is chosen, as it said when it began."""
        try:
            places = await self._bus.left_with(replica, chosen.identity)
        except BusUnavailableError:
            missing.complete = False
            return []
        wall = time.time()
        records = _records(place.about for place in places)
        return [record for record in records if chosen.takes_record(record, wall)]


def _records(data: Iterable[bytes]) -> list[Record]:
    """The records in these, but for what another version wrote."""
    return [record for each in data if (record := record_of(each)) is not None]
