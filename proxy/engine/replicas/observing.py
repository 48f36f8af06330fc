"""Looking at what other replicas run: their owner is asked, and a stream of its is read from it, see `lending.py`.

A reading outlives what may happen to the bus: what got lost is asked for again, from the byte that is missing. It does
not outlive its owner; then it ends like a stream of a process that died, and its client knows where to go on.
"""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final

from msgspec.structs import replace

from proxy.core.errors import Refusal
from proxy.core.generation import Identity
from proxy.core.ids import new_id
from proxy.core.letters import LetterError, LookAt, Served
from proxy.core.parcels import Kind, Parcels
from proxy.engine.plain import PlainReply, PlainRequest
from proxy.engine.replicas.correspondence import Correspondence
from proxy.engine.replicas.elsewhere import Elsewhere, Unserved
from proxy.engine.replicas.reading import Reading
from proxy.engine.replicas.telling import Telling
from proxy.engine.replicas.undertaker import Undertaker
from proxy.engine.tasks import Tasks
from proxy.engine.telemetry.metrics import Metrics
from proxy.stores.bus.port import BusUnavailableError, Place

RENEW_SECONDS: Final = 1.0
QUICK_SECONDS: Final = 0.5
"""An answer that takes longer needs a sign of life."""
SILENT_SECONDS: Final = 3.0
"""Who was not heard of for so long may be dead."""
LOST_SECONDS: Final = 60.0
"""So long a stream waits for its owner or the bus."""
AGAIN_SECONDS: Final = 0.25
MOST: Final = 4096
"""Streams read from other replicas at once."""


class Observing:
    """What this replica reads from others."""

    def __init__(
        self,
        letters: Correspondence,
        parcels: Parcels,
        elsewhere: Elsewhere,
        undertaker: Undertaker,
        metrics: Metrics,
        now: Callable[[], float],
    ) -> None:
        self._letters = letters
        self._bus = letters.bus
        self._parcels = parcels
        self._elsewhere = elsewhere
        self._undertaker = undertaker
        self._metrics = metrics
        self._now = now
        self._readings: dict[str, Reading] = {}
        self._tasks = Tasks()
        self._telling = Telling(letters, self._tasks)
        self._collecting: asyncio.Task[None] | None = None
        self._renewing: asyncio.Task[None] | None = None
        self._mending: set[Reading] = set()

    def __len__(self) -> int:
        return len(self._readings)

    async def look(
        self, identity: Identity, any_id: str, route: str, request: PlainRequest, over_here: float | None
    ) -> PlainReply | Reading | Unserved | None:
        """Have the owner of an id answer a request that only looks at it. None: nobody else owns it, or serves that.

        A reading must be closed by whoever gets it. `over_here`: see `Elsewhere.find`.

        Raises:
            BusUnavailableError: nobody can know now.
            Refusal: 429, as many streams are read from others as may be.
        """
        place = await self._elsewhere.find(identity.name, any_id, over_here)
        if place is None:
            return None
        return await self._look(self._letter(place.replica, identity, route, request), place)

    async def look_at(self, place: Place, request: PlainRequest) -> PlainReply | Reading | Unserved | None:
        """Have an owner answer a request of the operator's, see `look`."""
        return await self._look(self._letter(place.replica, None, "", request), place)

    def close_reading(self, reading: Reading) -> None:
        """Nobody reads it any more."""
        reading.end(Kind.BROKEN)
        numbers = [number for number, each in self._readings.items() if each is reading]
        for number in numbers:
            self._leave(reading.letter.to, number)

    def break_off(self) -> None:
        """End what is read, at the end of this process: its clients go on elsewhere."""
        for reading in list(self._readings.values()):
            reading.end(Kind.BROKEN)

    async def close(self) -> None:
        """Let all of them go, and tell their owners."""
        self.break_off()
        await self._tasks.cancel()
        await self._telling.tell(())

    def _leave(self, to: str, number: str) -> None:
        self._readings.pop(number, None)
        self._telling.left(to, number)

    # Asking.

    def _letter(self, to: str, identity: Identity | None, route: str, request: PlainRequest) -> LookAt:
        return LookAt(
            **self._letters.head(to),
            identity=None if identity is None else identity.name,
            shown="" if identity is None else identity.shown,
            route=route,
            rest=request.rest,
            query=request.query,
            user_header=request.user_header,
        )

    async def _look(self, letter: LookAt, place: Place) -> PlainReply | Reading | Unserved | None:
        if len(self._readings) >= MOST:
            raise Refusal.too_many(1, f"As many streams are read from other replicas as may be ({MOST}).")
        reading = Reading(letter, self._now(), self._has_news)
        try:
            served = await self._ask(reading, letter)
        except BaseException:
            self.close_reading(reading)
            raise
        if served is None:
            self.close_reading(reading)
            return Unserved.of(place, is_dead=await self._undertaker.is_dead(place.replica))
        if served.streams:
            reading.headers = served.headers
            self._collect()
            return reading
        del self._readings[letter.number]
        return PlainReply(served.status, served.body, served.headers, served.content_type) if served.status else None

    async def _ask(self, reading: Reading, letter: LookAt) -> Served | None:
        """What the owner answers, however long that takes, as long as it gives signs of life; None: it does not."""
        self._readings[letter.number] = reading
        with self._letters.expected(letter.number) as said:
            heard = await self._bus.send(letter.to, self._letters.close(letter))
            if not heard and await self._undertaker.is_dead(letter.to):
                return None
            began, seconds = self._now(), QUICK_SECONDS
            while True:
                await asyncio.wait([said], timeout=seconds)
                answer = said.result() if said.done() else await self._letters.kept(letter.number)
                if isinstance(answer, Served):
                    return answer
                self._collect()
                seconds = RENEW_SECONDS
                if self._now() - max(began, reading.heard_at) > SILENT_SECONDS:
                    return None

    # Reading.

    def _collect(self) -> None:
        if self._collecting is None:
            self._collecting = self._tasks.start(self._collect_all(), "collect what is read from others")
        if self._renewing is None:
            self._renewing = self._tasks.start(self._renew(), "tell owners that we read")

    async def _collect_all(self) -> None:
        """Take what comes, as long as anybody reads."""
        while self._readings:
            try:
                parcels = await self._bus.collect()
            except BusUnavailableError:
                await asyncio.sleep(AGAIN_SECONDS)
                continue
            for parcel in parcels:
                self._take(parcel)
        self._collecting = None

    def _take(self, parcel: bytes) -> None:
        try:
            pieces = self._parcels.open(parcel)
        except LetterError as error:
            self._metrics.letters_refused.labels(error.why).inc()
            return
        now = self._now()
        for piece in pieces:
            if (reading := self._readings.get(piece.reading)) is not None:
                reading.take(piece, now)

    def _has_news(self, reading: Reading) -> None:
        if reading.is_lost:
            self._mend_soon(reading)
        else:
            self._telling.changed(reading)

    def _mend_soon(self, reading: Reading) -> None:
        if reading not in self._mending:
            self._mending.add(reading)
            self._tasks.start(self._mend(reading), "find what got lost").add_done_callback(
                lambda _: self._mending.discard(reading)
            )

    async def _mend(self, reading: Reading) -> None:
        """Ask again for what got lost, until it comes, or nobody can say it any more."""
        while not reading.is_over and self._now() - reading.heard_at < LOST_SECONDS:
            if self._bus.is_up:
                with contextlib.suppress(BusUnavailableError):
                    served = await self._ask_again(reading)
                    if served is not None and served.streams:
                        return
                    if served is not None or await self._undertaker.is_dead(reading.letter.to):
                        break
            await asyncio.sleep(AGAIN_SECONDS)
        reading.end(Kind.BROKEN)

    async def _ask_again(self, reading: Reading) -> Served | None:
        """Ask once more, for what is not here yet, see `_ask`."""
        old, number = reading.letter, new_id()
        letter = replace(old, at=self._bus.now(), number=number, skip=reading.position)
        reading.is_lost = False
        try:
            served = await self._ask(reading, letter)
        except BaseException:
            self._leave(letter.to, number)
            raise
        if served is None:
            self._leave(letter.to, number)
            return None
        reading.letter = letter
        self._leave(old.to, old.number)
        return served

    async def _renew(self) -> None:
        """Tell of all readings that they are wanted, and look after those that are silent."""
        while self._readings:
            await asyncio.sleep(RENEW_SECONDS)
            now, readings = self._now(), set(self._readings.values())
            for reading in readings:
                if now - reading.heard_at > SILENT_SECONDS and not reading.is_over:
                    self._mend_soon(reading)
            await self._telling.tell(readings)
        self._renewing = None
