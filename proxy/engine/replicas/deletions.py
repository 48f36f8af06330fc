"""What other replicas run of what was deleted: it is stopped, and its text is to be nowhere there either.

What can't be said while the bus is away, or has not heard of everything yet, is said as soon as that is over.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from proxy.core.generation import Stop
from proxy.core.letters import StopIt
from proxy.core.record_bytes import record_of
from proxy.engine.replicas.correspondence import Correspondence
from proxy.engine.replicas.wishes import wish_of
from proxy.engine.tasks import Tasks
from proxy.stores.bus.port import BusUnavailableError, KeptStop, Place

AGAIN_SECONDS: Final = 1.0
UNSAID_MOST: Final = 100_000
"""So many generations wait for the bus; of more the oldest are given up."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Deletion:
    """Whose generations are to be stopped, and how."""

    identity: str
    stop: Stop
    confirm: float


class Deletions:
    """Tells the others of deletions."""

    def __init__(self, letters: Correspondence) -> None:
        self._letters = letters
        self._bus = letters.bus
        self._unsaid: OrderedDict[str, Deletion] = OrderedDict()
        """By the generations' uids."""
        self._tasks = Tasks()

    @property
    def can_be_told(self) -> bool:
        """Whether the others can be told now."""
        return self._bus.is_up

    async def stop(self, identity: str, uids: Sequence[str], stop: Stop, confirm: float) -> None:
        """Stop generations of an identity's that others run, and let their texts be nowhere.

        What is not confirmed in time is kept for its owner; what can't be sent is sent when it can be.
        """
        deletion = Deletion(identity, stop, confirm)
        if unsaid := await self._say(deletion, uids):
            log.warning("delete.others_not_told", generations=len(unsaid))
            self._unsaid.update(dict.fromkeys(unsaid, deletion))
            while len(self._unsaid) > UNSAID_MOST:
                self._unsaid.popitem(last=False)
            if not len(self._tasks):
                self._tasks.start(self._say_again(), "tell others of deletions")

    async def close(self) -> None:
        """End."""
        await self._tasks.cancel()

    async def _say_again(self) -> None:
        while self._unsaid:
            await asyncio.sleep(AGAIN_SECONDS)
            if not self._bus.is_up:
                continue
            for deletion in dict.fromkeys(self._unsaid.values()):
                uids = [uid for uid, each in self._unsaid.items() if each == deletion]
                unsaid = set(await self._say(deletion, uids))
                for uid in uids:
                    if uid not in unsaid:
                        self._unsaid.pop(uid, None)

    async def _say(self, deletion: Deletion, uids: Sequence[str]) -> list[str]:
        """Say it to whoever runs one of them; gives those whose owner may not have got it."""
        bus = self._bus
        try:
            places = await bus.places(deletion.identity, uids)
            unknown = set(uids) - {place.uid for place in places}
            if unknown and await bus.knows_all():
                unknown = set()
        except BusUnavailableError:
            return list(uids)
        others = [place for place in places if place.replica != bus.replica]
        said = await asyncio.gather(*(self._stop_and_wipe(place, deletion) for place in others))
        return [*unknown, *(place.uid for place, is_said in zip(others, said, strict=True) if not is_said)]

    async def _stop_and_wipe(self, place: Place, deletion: Deletion) -> bool:
        about = record_of(place.about)
        if about is None:  # another version wrote it
            return True
        letter = StopIt(
            **self._letters.head(place.replica),
            identity=place.identity,
            any_id=about.task_id,
            uid=place.uid,
            user=None,
            confirm=deletion.confirm,
            wish=wish_of(deletion.stop),
            wipes=True,
        )
        sealed = self._letters.close(letter)
        kept = KeptStop(letter.number, sealed, must_stay=True)
        try:
            with self._letters.expected(letter.number) as said:
                if await self._bus.stop(place, kept, sealed):
                    await self._letters.said(letter.number, said, deletion.confirm)
        except BusUnavailableError:
            return False
        return True
