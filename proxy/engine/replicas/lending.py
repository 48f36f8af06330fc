"""Serving the observers of other replicas: what they read here is sent in parcels, for as long as they want it.

Why so: a generation that nobody observes from elsewhere must cost nothing more. Pushing every generation's events into
a stream at the bus, observed or not, was measured at 12 µs an event in batches of 50 ms and 5 µs in batches of 100 ms
(and that much later), beside 28 µs for relaying one. Asking the owner costs nothing until somebody reads; then it is 11
to 20 µs an event here where 5,000 a second are read, and up to 100 µs where few are: a parcel for each. And the owner
has the tape: every reader gets the same bytes from the same position, live or over, whatever the bus lost.

An observer elsewhere is a reader like any other. It gets what it has taken and a window more, so one that is slow lags
behind on the tape, here, and never fills the bus. One that is not heard of for some seconds has left.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol

from proxy.core.errors import Refusal
from proxy.core.generation import Identity
from proxy.core.headers import HeaderPair
from proxy.core.letters import LookAt, Reads
from proxy.core.parcels import Kind, Parcels
from proxy.engine.plain import PlainReply, PlainRequest
from proxy.engine.relaying.readers import Opening
from proxy.engine.replicas.correspondence import Correspondence
from proxy.engine.replicas.lent import Lent
from proxy.engine.replicas.shipping import Shipping
from proxy.engine.tasks import Tasks

BEAT_SECONDS: Final = 1.0
GONE_SECONDS: Final = 6.0
"""Who is not heard of for so long, while the bus is there, has left."""
AWAY_SECONDS: Final = 60.0
"""The same while it is not."""
CLOSE_SECONDS: Final = 2.0
"""So long the last bytes may wait for a reader to take them, once all is said."""

WINDOW_BYTES: Final = 64 * 1024
LEAST_WINDOW: Final = 4 * 1024
WINDOWS_BYTES: Final = 8 * 2**20
"""So much may be on its way to one reader, and to all of them; with many of them each gets less."""

MOST_AT_ONCE: Final = 10_000
"""Requests that are worked on; what comes then is not answered, and asked again."""
MOST: Final = 4096
MOST_OF_IDENTITY: Final = 512
MOST_OF_GENERATION: Final = 64
"""Streams read through other replicas at once: in all, one caller's, one generation's."""


class LookHere(Protocol):
    """Serves a request that another replica took in and that only looks at something."""

    def __call__(
        self, identity: Identity | None, route: str, request: PlainRequest, opening: Opening, *, skips: bool
    ) -> Awaitable[PlainReply | None]:
        """Serve it, without asking others.

        Args:
            identity: whose request it is; None: the operator's.
            route: the path of its route.
            request: the request, with its path behind the route's.
            opening: where an answer that is a stream goes.
            skips: only a stream that says the same each time will do.

        Returns:
            An answer that is no stream; None: it is not served here, or was a stream, which is at its end.

        Raises:
            ConnectionError: the observer left, or the stream must not look complete.
        """
        ...


class Lending:
    """The streams of this replica that are read through others."""

    def __init__(self, letters: Correspondence, parcels: Parcels, now: Callable[[], float]) -> None:
        self._letters = letters
        self._bus = letters.bus
        self._now = now
        self._shipping = Shipping(letters.bus, parcels)
        self._tasks = Tasks()
        self._lent: dict[str, Lent] = {}
        self._serving: dict[str, asyncio.Task[None]] = {}
        self._beating: asyncio.Task[None] | None = None
        self._many: Counter[tuple[str, str]] = Counter()
        self.look_here: LookHere

    def __len__(self) -> int:
        return len(self._lent)

    def look(self, letter: LookAt) -> None:
        """A request of another replica's came."""
        number = letter.number
        if len(self._serving) >= MOST_AT_ONCE:
            return
        lent = self._lent[number] = Lent(number, letter.by, letter.skip, self._shipping, self._window)
        lent.heard_at = self._now()
        opening = _Elsewhere(self, letter, lent)
        task = self._serving[number] = self._tasks.start(self._serve(letter, opening), "look for another replica")
        task.add_done_callback(lambda _: self._is_over(number, opening))
        if self._beating is None:
            self._beating = self._tasks.start(self._beat(), "tell readers elsewhere that we are there")

    def heard(self, letter: Reads) -> None:
        """What a replica says of the streams that it reads."""
        for number, taken in letter.taken.items():
            if (lent := self._lent.get(number)) is not None and lent.to == letter.by:
                lent.heard(taken, self._now())
        for number in letter.left:
            if (lent := self._lent.get(number)) is not None and lent.to == letter.by:
                self._let_go(number, lent)

    async def close(self) -> None:
        """Say what is to be said yet: everything has ended by now."""
        if self._beating is not None:
            self._beating.cancel()
        if self._serving:
            await asyncio.wait(self._serving.values(), timeout=CLOSE_SECONDS)
        await self._tasks.cancel()
        await self._shipping.close()

    def _window(self) -> int:
        return max(LEAST_WINDOW, min(WINDOW_BYTES, WINDOWS_BYTES // max(len(self._lent), 1)))

    def _let_go(self, number: str, lent: Lent) -> None:
        lent.leave()
        if (task := self._serving.get(number)) is not None:
            task.cancel()

    async def _beat(self) -> None:
        """Tell that we are there, and let those go that are not: as long as anybody reads."""
        is_up = True
        while self._lent:
            await asyncio.sleep(BEAT_SECONDS)
            now, was_up, is_up = self._now(), is_up, self._bus.is_up
            for number, lent in list(self._lent.items()):
                if is_up and not was_up:
                    lent.heard_at = now
                if now - lent.heard_at > (GONE_SECONDS if is_up else AWAY_SECONDS):
                    self._let_go(number, lent)
                else:
                    lent.say(Kind.BEAT)
        self._beating = None

    async def _serve(self, letter: LookAt, opening: "_Elsewhere") -> None:
        identity = None if letter.identity is None else Identity(letter.identity, letter.shown)
        request = PlainRequest("GET", letter.rest, letter.query, "", b"", letter.user_header)
        with contextlib.suppress(ConnectionError):
            reply = await self.look_here(identity, letter.route, request, opening, skips=bool(letter.skip))
            if not opening.is_open:
                self._answer(letter, PlainReply(0, b"") if reply is None else reply)
                return
            await opening.lent.drained(AWAY_SECONDS)
            opening.ending = Kind.ENDED

    def _is_over(self, number: str, opening: "_Elsewhere") -> None:
        """Nothing more comes of a reading, for whatever reason."""
        del self._lent[number], self._serving[number]
        self._many.subtract(opening.counted)
        self._many = +self._many
        if opening.is_open and not opening.lent.is_gone:
            opening.lent.say(opening.ending)

    def _answer(self, letter: LookAt, reply: PlainReply, *, streams: bool = False) -> None:
        served = self._letters.served(letter, reply, streams=streams)
        self._bus.reply(letter.by, letter.number, self._letters.close(served))

    def _count(self, letter: LookAt, generation: str) -> list[tuple[str, str]]:
        """Count one more stream.

        Raises:
            Refusal: 429, they are as many as may.
        """
        bounds = [(("all", ""), MOST), (("generation", generation), MOST_OF_GENERATION)]
        if letter.identity is not None:
            bounds.append((("identity", letter.identity), MOST_OF_IDENTITY))
        for key, most in bounds:
            if self._many[key] >= most:
                what = {"all": "", "generation": " of this generation", "identity": " of this caller"}[key[0]]
                message = f"As many streams{what} are read through other replicas as may be ({most})."
                raise Refusal.too_many(1, message)
        keys = [key for key, _ in bounds]
        self._many.update(keys)
        return keys


class _Elsewhere:
    """An observer at another replica, who has been told nothing yet."""

    def __init__(self, lending: Lending, letter: LookAt, lent: Lent) -> None:
        self._lending = lending
        self._letter = letter
        self.lent = lent
        self.counted: Sequence[tuple[str, str]] = ()
        self.is_open = False
        self.ending = Kind.BROKEN

    async def begin(self, generation: str, headers: Sequence[HeaderPair]) -> Lent:
        """See `Opening`."""
        self.counted = self._lending._count(self._letter, generation)  # noqa: SLF001 a part of it
        self.is_open = True
        reply = PlainReply(200, b"", tuple(headers))
        self._lending._answer(self._letter, reply, streams=True)  # noqa: SLF001 a part of it
        return self.lent
