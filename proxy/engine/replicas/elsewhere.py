"""Asking the owner of an id, where that is another replica: a stop of what it runs, and what became of it."""

import time
from dataclasses import dataclass, replace
from typing import Final, Self

from proxy.core.errors import Refusal
from proxy.core.generation import Identity, Stop
from proxy.core.headers import valid_task_id
from proxy.core.letters import Said, Served, ServeIt, StopIt, StopWhenItComes
from proxy.core.lifecycle import CancelResult, Outcome
from proxy.core.receipt import cancel_result
from proxy.core.record import Record
from proxy.core.record_bytes import record_of
from proxy.engine.plain import PlainReply, PlainRequest
from proxy.engine.replicas.correspondence import Correspondence, Expected
from proxy.engine.replicas.deletions import Deletions
from proxy.engine.replicas.undertaker import Undertaker
from proxy.engine.replicas.wishes import is_text, wish_of
from proxy.engine.telemetry.metrics import Metrics
from proxy.stores.bus.port import BusUnavailableError, KeptStop, Place

TRIES: Final = 3
"""How often an id is looked up whose owner changes meanwhile."""

BODY_BYTES: Final = 256 * 1024
"""A longer body goes to no other replica. No endpoint that is served by owners needs one nearly as long, and a server
cuts off a listener for whom tens of megabytes wait."""


@dataclass(frozen=True, slots=True)
class Unserved:
    """The owner did not serve a request: it is dead, or says nothing; then a stop is kept for it.

    The record is as the directory has it: running, or how it ended; `interrupted` where a death ended it.
    """

    record: Record
    is_dead: bool

    @classmethod
    def of(cls, place: Place, *, is_dead: bool) -> Self:
        """What is known without the owner.

        Raises:
            BusUnavailableError: nothing is: another version wrote it.
        """
        about = record_of(place.about)
        if about is None:
            raise BusUnavailableError("another version wrote what is known of it")
        return cls(_left(about) if is_dead or place.is_over else about, is_dead)


class Elsewhere:
    """What this replica asks of the others."""

    def __init__(self, letters: Correspondence, undertaker: Undertaker, metrics: Metrics) -> None:
        self._letters = letters
        self._bus = letters.bus
        self._undertaker = undertaker
        self._metrics = metrics
        self.deletions = Deletions(letters)

    async def stop(
        self,
        identity: str,
        any_id: str,
        stop: Stop,
        *,
        confirm: float,
        user: str | None,
        over_here: Record | None = None,
    ) -> Record | None:
        """Stop what an id means that means nothing here, or (`over_here`) only what is over.

        Gives the record as its owner has it. An owner that does not confirm in time leaves it running; one that is dead
        leaves it interrupted, or as it ended before. None: no other replica knows it; then the stop waits a short time
        for a generation with that id, wherever it begins.

        Raises:
            BusUnavailableError: nobody can know whether it was stopped.
        """
        if not is_text(any_id):
            return None
        for _ in range(TRIES):
            place = await self._bus.find(identity, any_id)
            if place is None or not _is_meant(place, None if over_here is None else over_here.started_at):
                if over_here is not None:
                    return None
                if not valid_task_id(any_id) or await self._wait_for(identity, any_id, stop, user):
                    await self._be_sure_of_nothing()
                    return None
            elif place.replica == self._bus.replica:
                return None
            else:
                letter = self._stop_it(place, any_id, stop, confirm, user)
                with self._letters.expected(letter.number) as said:
                    sealed = self._letters.close(letter)
                    kept = KeptStop(letter.number, sealed) if _may_stop(place, user) else None
                    heard = await self._bus.stop(place, kept, sealed)
                    if heard is not None:
                        return await self._outcome(place, letter, said, heard)
        return None

    async def serve(
        self,
        identity: Identity,
        any_id: str,
        route: str,
        request: PlainRequest,
        confirm: float,
        *,
        stops: bool,
        over_here: float | None = None,
    ) -> PlainReply | Unserved | None:
        """Have the owner of an id serve a request, in its dialect's words. None: nobody else owns it.

        One that `stops` it is kept for an owner that does not hear it; what the owner refuses then stops nothing.

        Raises:
            BusUnavailableError: see `find`.
            Refusal: 413, its body is too long to be sent to the owner.
        """
        place = await self.find(identity.name, any_id, over_here)
        if place is None:
            return None
        if len(request.body) > BODY_BYTES:
            raise _too_large()
        return await self._serve_at(place, identity, any_id, route, request, confirm, stops=stops)

    async def find(self, identity: str, any_id: str, over_here: float | None) -> Place | None:
        """Where the generation is that an id names, if another replica owns it. None: nobody else does.

        `over_here`: when that began which the id means here, and which is over; then only what lives, or is newer, is
        meant.

        Raises:
            BusUnavailableError: nobody can know.
        """
        place = await self._bus.find(identity, any_id) if is_text(any_id) else None
        if place is None and over_here is None:
            await self._be_sure_of_nothing()
        if place is None or place.replica == self._bus.replica or not _is_meant(place, over_here):
            return None
        return place

    async def _serve_at(
        self,
        place: Place,
        identity: Identity,
        any_id: str,
        route: str,
        request: PlainRequest,
        confirm: float,
        *,
        stops: bool,
    ) -> PlainReply | Unserved | None:
        letter = ServeIt(
            **self._letters.head(place.replica),
            identity=identity.name,
            shown=identity.shown,
            route=route,
            method=request.method,
            rest=request.rest,
            query=request.query,
            content_type=request.content_type,
            body=request.body,
            user_header=request.user_header,
            any_id=any_id,
            uid=place.uid,
        )
        sealed = self._letters.close(letter)
        kept = KeptStop(letter.number, sealed) if stops else None
        with self._letters.expected(letter.number) as said:
            heard = await self._bus.stop(place, kept, sealed)
            if not heard and await self._undertaker.is_dead(place.replica, confirm):
                return Unserved.of(place, is_dead=True)
            served = await self._letters.said(letter.number, said, confirm)
        if not isinstance(served, Served):
            return Unserved.of(place, is_dead=not heard and await self._undertaker.is_dead(place.replica, confirm))
        if not served.status:
            return None
        return PlainReply(served.status, served.body, served.headers, served.content_type)

    def _stop_it(self, place: Place, any_id: str, stop: Stop, confirm: float, user: str | None) -> StopIt:
        return StopIt(
            **self._letters.head(place.replica),
            identity=place.identity,
            any_id=any_id,
            uid=place.uid,
            user=user,
            confirm=confirm,
            wish=wish_of(stop),
        )

    async def _be_sure_of_nothing(self) -> None:
        """Nobody makes the id known.

        Raises:
            BusUnavailableError: that means nothing: the directory was emptied a moment ago, or somebody on this bus
                has another secret.
        """
        if not await self._bus.knows_all():
            raise BusUnavailableError("the directory is not complete")

    async def _wait_for(self, identity: str, any_id: str, stop: Stop, user: str | None) -> bool:
        letter = StopWhenItComes(
            **self._letters.head(""), identity=identity, any_id=any_id, user=user, wish=wish_of(stop)
        )
        return await self._bus.leave_stop(identity, any_id, user, self._letters.close(letter))

    async def _outcome(self, place: Place, letter: StopIt, said: Expected, heard: int) -> Record | None:
        about = record_of(place.about)
        if about is None:
            raise BusUnavailableError("another version wrote what is known of it")
        if not heard and await self._undertaker.is_dead(place.replica, letter.confirm):
            return _left(about)
        began = time.monotonic()
        answer = await self._letters.said(letter.number, said, letter.confirm)
        if isinstance(answer, Said):
            record = None if answer.record is None else record_of(answer.record)
            if record is not None and not place.is_over and cancel_result(record) is CancelResult.STOPPED:
                self._metrics.cancel_latency.labels("remote").observe(time.monotonic() - began)
            return record
        if not heard and await self._undertaker.is_dead(place.replica, letter.confirm):
            return _left(about)
        if place.is_over:
            return _left(about)
        self._metrics.unconfirmed(about.upstream)
        return _stopping(about, letter.wish.stop())


def _too_large() -> Refusal:
    """413: another replica runs it; unlike elsewhere the body was read, and the connection goes on."""
    message = f"Another replica runs this. A request about it may have a body of up to {BODY_BYTES} bytes."
    return Refusal(413, "request_too_large", message)


def _may_stop(place: Place, user: str | None) -> bool:
    """Whether a stop of this end user's, or (None) of anybody's, can take effect there: else none needs to be kept."""
    about = record_of(place.about)
    return user is None or about is None or about.user == user


def _is_meant(place: Place, over_here: float | None) -> bool:
    if over_here is None or not place.is_over:
        return True
    about = record_of(place.about)
    return about is not None and about.started_at > over_here


def _left(about: Record) -> Record:
    """The record of what a dead replica ran, as far as the directory knows."""
    return about if about.outcome is not Outcome.RUNNING else replace(about, outcome=Outcome.INTERRUPTED)


def _stopping(about: Record, stop: Stop) -> Record:
    """The record of what may not have heard of its stop yet."""
    return replace(about, outcome=Outcome.RUNNING, cause=stop.cause, cancelled_by=stop.by, reason=stop.reason)
