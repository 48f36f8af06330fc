"""What comes from other replicas. The seal is looked at first; then it is done as for the identity that is named."""

import contextlib
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from proxy.core.generation import Identity
from proxy.core.letters import (
    AnyLetter,
    ItCame,
    LetterError,
    LookAt,
    Reads,
    Said,
    Seal,
    Served,
    ServeIt,
    StopIt,
    StopWhenItComes,
)
from proxy.core.record_bytes import record_bytes
from proxy.engine.canceller import Canceller
from proxy.engine.dialect import PlainReply, PlainRequest
from proxy.engine.elsewhere import Elsewhere
from proxy.engine.lending import Lending
from proxy.engine.metrics import Metrics
from proxy.engine.registry import Registry
from proxy.engine.relay import Relay
from proxy.engine.runs import Runs
from proxy.engine.tasks import Tasks
from proxy.stores.bus import WAITING_SECONDS, Bus, BusUnavailableError

MOST_AT_ONCE: Final = 10_000
"""So many letters are worked on; a stop that comes when there are more is kept at the bus, and found again."""
LONGEST_CONFIRM: Final = 60.0
ON_ITS_WAY_SECONDS: Final = 1.0
"""So long a kept stop is left alone: the letter that came with it may say more."""


class ServeHere(Protocol):
    """Serves a request that another replica took in; None: it is not served here."""

    def __call__(self, identity: Identity, route: str, request: PlainRequest) -> Awaitable[PlainReply | None]:
        """Serve it, without asking others."""
        ...


class Letterbox:
    """Does what the letters ask for."""

    def __init__(
        self,
        bus: Bus,
        seal: Seal,
        elsewhere: Elsewhere,
        lending: Lending,
        canceller: Canceller,
        registry: Registry,
        runs: Runs,
        metrics: Metrics,
        now: Callable[[], float],
    ) -> None:
        self._bus = bus
        self._seal = seal
        self._elsewhere = elsewhere
        self._lending = lending
        self._canceller = canceller
        self._registry = registry
        self._runs = runs
        self._metrics = metrics
        self._now = now
        self._tasks = Tasks()
        self.serve_here: ServeHere

    def got_letter(self, letter: bytes) -> None:
        """A letter to this replica came."""
        try:
            opened = self._seal.open(letter, self._bus.now())
        except LetterError as error:
            self._metrics.letters_refused.labels(error.why).inc()
            return
        if isinstance(opened, Said | Served):
            self._elsewhere.came(opened)
        elif isinstance(opened, ItCame):
            self._registry.take_stop(opened.identity, opened.any_id, self._now(), opened.user)
        elif isinstance(opened, LookAt):
            self._lending.look(opened)
        elif isinstance(opened, Reads):
            self._lending.heard(opened)
        elif len(self._tasks) < MOST_AT_ONCE:
            if isinstance(opened, StopIt):
                self._tasks.start(self._stop(opened, opened.any_id), "stop for another replica")
            elif isinstance(opened, ServeIt):
                self._tasks.start(self._serve(opened), "serve for another replica")

    def found_stop(self, uid: str, letter: bytes) -> None:
        """A stop is kept for one of ours: its letter got lost, or is being followed already."""
        opened = self._opened(letter)
        if not isinstance(opened, StopIt) or opened.uid != uid or self._bus.now() - opened.at < ON_ITS_WAY_SECONDS:
            return
        if (any_id := self._kept_for(opened)) is not None and len(self._tasks) < MOST_AT_ONCE:
            self._seal.is_new(opened, self._bus.now())
            self._tasks.start(self._stop(opened, any_id), "a kept stop")

    def _kept_for(self, letter: StopIt) -> str | None:
        """The id by which to stop what a kept stop was for: exactly that, and nothing newer. None: it needs none."""
        relay = self._registry.find_uid(letter.uid)
        if isinstance(relay, Relay) and relay.generation.stop is None:
            facts = relay.generation.facts
            for any_id in (letter.any_id, facts.task_id):
                if facts.identity.name == letter.identity and self._registry.find(letter.identity, any_id) is relay:
                    return any_id
        waiting = self._runs.behind(letter.identity, letter.any_id)
        return letter.any_id if any(run.has(letter.uid) for run in waiting) else None

    def found_waiting(self, uid: str, letter: bytes) -> None:
        """A stop waited for one of ours that was made known just now."""
        opened, relay = self._opened(letter), self._registry.find_uid(uid)
        if not isinstance(opened, StopWhenItComes) or not isinstance(relay, Relay):
            return
        facts = relay.generation.facts
        is_meant = facts.identity.name == opened.identity and opened.any_id in (facts.task_id, facts.message_id)
        is_users = opened.user is None or opened.user == facts.user
        if is_meant and is_users and self._bus.now() - opened.at <= 2 * WAITING_SECONDS:
            self._canceller.stop_relay(relay, opened.wish.stop())
            if opened.by != self._bus.replica:
                self._tasks.start(self._tell_it_came(opened), "tell that it came")

    def changed(self, *, is_up: bool) -> None:
        """The bus can be used from now on, or not any more."""
        self._metrics.bus_up.set(is_up)

    async def close(self) -> None:
        """Finish what is asked of us; whoever asks is not there for long either."""
        await self._tasks.cancel()

    def _opened(self, letter: bytes) -> AnyLetter | None:
        try:
            return self._seal.open_kept(letter)
        except LetterError as error:
            self._metrics.letters_refused.labels(error.why).inc()
            return None

    async def _stop(self, letter: StopIt, any_id: str) -> None:
        confirm = min(letter.confirm, LONGEST_CONFIRM)
        stop = letter.wish.stop()
        record = await self._canceller.cancel_here(letter.identity, any_id, stop, confirm=confirm, user=letter.user)
        said = Said(
            to=letter.by,
            by=self._bus.replica,
            at=self._bus.now(),
            answers=letter.number,
            record=None if record is None else record_bytes(record),
        )
        self._bus.reply(letter.by, letter.number, self._seal.close(said))

    async def _serve(self, letter: ServeIt) -> None:
        request = PlainRequest(
            letter.method, letter.rest, letter.query, letter.content_type, letter.body, letter.user_header
        )
        reply = await self.serve_here(Identity(letter.identity, letter.shown), letter.route, request)
        if reply is None:
            reply = PlainReply(0, b"")
        served = Served(
            to=letter.by,
            by=self._bus.replica,
            at=self._bus.now(),
            answers=letter.number,
            status=reply.status,
            content_type=reply.content_type,
            headers=tuple(reply.headers),
            body=reply.body,
        )
        self._bus.reply(letter.by, letter.number, self._seal.close(served))

    async def _tell_it_came(self, letter: StopWhenItComes) -> None:
        told = ItCame(
            to=letter.by,
            by=self._bus.replica,
            at=self._bus.now(),
            identity=letter.identity,
            any_id=letter.any_id,
            user=letter.user,
        )
        with contextlib.suppress(BusUnavailableError):  # then it is remembered there for some seconds more
            await self._bus.send(letter.by, self._seal.close(told))
