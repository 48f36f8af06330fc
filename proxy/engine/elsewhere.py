"""Asking other replicas: a stop of what one of them runs, and what became of it."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from proxy.core.generation import Identity, Stop
from proxy.core.headers import valid_task_id
from proxy.core.letters import Said, Served, ServeIt, StopIt, StopWhenItComes
from proxy.core.lifecycle import CancelResult, Cause, Outcome
from proxy.core.receipt import cancel_result
from proxy.core.record import Record
from proxy.core.record_bytes import record_of
from proxy.engine.correspondence import Correspondence, Expected
from proxy.engine.dialect import PlainReply, PlainRequest
from proxy.engine.metrics import Metrics
from proxy.engine.undertaker import Undertaker
from proxy.engine.wishes import is_text, wish_of
from proxy.stores.bus import BusUnavailableError, Place

TRIES: Final = 3
"""How often an id is looked up whose owner changes meanwhile."""


@dataclass(frozen=True, slots=True)
class Unserved:
    """A stop that its owner did not serve: it says nothing, and the stop is kept for it; or it is dead.

    The record is as the directory has it: running, or how it ended; `interrupted` where a death ended it.
    """

    record: Record


class Elsewhere:
    """What this replica asks of the others."""

    def __init__(self, letters: Correspondence, undertaker: Undertaker, metrics: Metrics) -> None:
        self._letters = letters
        self._bus = letters.bus
        self._undertaker = undertaker
        self._metrics = metrics

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
            if place is None or (place.is_over and over_here is not None and not _is_newer(place, over_here)):
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
                    heard = await self._bus.stop(place, sealed, sealed)
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
        is_over_here: bool = False,
    ) -> PlainReply | Unserved | None:
        """Have the owner of an id serve a request to stop it, in its dialect's words. None: nobody else owns it.

        `is_over_here`: the id means something here that is over; then only what lives elsewhere is meant.

        Raises:
            BusUnavailableError: nobody can know whether somebody does.
        """
        place = await self._bus.find(identity.name, any_id) if is_text(any_id) else None
        if place is None or place.replica == self._bus.replica or (is_over_here and place.is_over):
            if place is None and not is_over_here:
                await self._be_sure_of_nothing()
            return None
        return await self._serve_at(place, identity, any_id, route, request, confirm)

    async def _serve_at(
        self, place: Place, identity: Identity, any_id: str, route: str, request: PlainRequest, confirm: float
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
        )
        kept = self._stop_it(place, any_id, Stop(Cause.CLIENT, identity.shown), confirm, None)
        with self._letters.expected(letter.number) as said:
            heard = await self._bus.stop(place, self._letters.close(kept), self._letters.close(letter))
            if heard or not await self._is_dead(place.replica, confirm):
                served = await self._letters.said(letter.number, said, confirm)
                if not isinstance(served, Served):
                    return self._unserved(place, is_dead=not heard and await self._is_dead(place.replica, confirm))
            else:
                return self._unserved(place, is_dead=True)
        if not served.status:
            return None
        return PlainReply(served.status, served.body, served.headers, served.content_type)

    @staticmethod
    def _unserved(place: Place, *, is_dead: bool) -> Unserved:
        about = record_of(place.about)
        if about is None:
            raise BusUnavailableError("another version wrote what is known of it")
        return Unserved(_left(about) if is_dead or place.is_over else about)

    async def stop_these(self, identity: str, uids: Sequence[str], stop: Stop, confirm: float) -> None:
        """Stop generations of an identity's that others run, and let their texts be nowhere: they were deleted.

        What is not confirmed in time is kept for its owner.

        Raises:
            BusUnavailableError: it may not have been sent.
        """
        places = [place for place in await self._bus.places(identity, uids) if place.replica != self._bus.replica]
        await asyncio.gather(*(self._stop_and_wipe(place, stop, confirm) for place in places))

    async def _stop_and_wipe(self, place: Place, stop: Stop, confirm: float) -> None:
        about = record_of(place.about)
        if about is None:
            return
        letter = self._stop_it(place, about.task_id, stop, confirm, None, wipes=True)
        sealed = self._letters.close(letter)
        with self._letters.expected(letter.number) as said:
            if await self._bus.stop(place, sealed, sealed):
                await self._letters.said(letter.number, said, confirm)

    def _stop_it(
        self, place: Place, any_id: str, stop: Stop, confirm: float, user: str | None, *, wipes: bool = False
    ) -> StopIt:
        return StopIt(
            **self._letters.head(place.replica),
            identity=place.identity,
            any_id=any_id,
            uid=place.uid,
            user=user,
            confirm=confirm,
            wish=wish_of(stop),
            wipes=wipes,
        )

    async def _is_dead(self, replica: str, seconds: float) -> bool:
        """Whether an owner is gone; then what it left is seen to first."""
        if not await self._bus.is_dead(replica):
            return False
        await self._undertaker.see_to(replica, seconds)
        return True

    async def _be_sure_of_nothing(self) -> None:
        """Nobody makes the id known.

        Raises:
            BusUnavailableError: that means nothing: the directory was emptied a moment ago.
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
        if not heard and await self._is_dead(place.replica, letter.confirm):
            return _left(about)
        began = time.monotonic()
        answer = await self._letters.said(letter.number, said, letter.confirm)
        if isinstance(answer, Said):
            record = None if answer.record is None else record_of(answer.record)
            if record is not None and not place.is_over and cancel_result(record) is CancelResult.STOPPED:
                self._metrics.cancel_latency.labels("remote").observe(time.monotonic() - began)
            return record
        if not heard and await self._is_dead(place.replica, letter.confirm):
            return _left(about)
        return _left(about) if place.is_over else _stopping(about, letter.wish.stop())


def _is_newer(place: Place, record: Record) -> bool:
    about = record_of(place.about)
    return about is not None and about.started_at > record.started_at


def _left(about: Record) -> Record:
    """The record of what a dead replica ran, as far as the directory knows."""
    return about if about.outcome is not Outcome.RUNNING else replace(about, outcome=Outcome.INTERRUPTED)


def _stopping(about: Record, stop: Stop) -> Record:
    """The record of what may not have heard of its stop yet."""
    return replace(about, outcome=Outcome.RUNNING, cause=stop.cause, cancelled_by=stop.by, reason=stop.reason)
