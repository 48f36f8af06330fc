"""Asking other replicas: a stop of what one of them runs, and what became of it."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

from proxy.core.generation import Identity, Stop
from proxy.core.headers import valid_task_id
from proxy.core.letters import LetterError, Said, Seal, Served, ServeIt, StopIt, StopWhenItComes, Wish
from proxy.core.lifecycle import CancelResult, Cause, Outcome
from proxy.core.receipt import cancel_result
from proxy.core.record import Record
from proxy.core.record_bytes import record_of
from proxy.engine.dialect import PlainReply, PlainRequest
from proxy.engine.metrics import Metrics
from proxy.stores.bus import Bus, BusUnavailableError, Place

TRIES: Final = 3
"""How often an id is looked up whose owner changes meanwhile."""
GRACE_SECONDS: Final = 0.2
"""An owner waits as long as we were told to; its answer needs some time to come here too."""


class Elsewhere:
    """What this replica asks of the others."""

    def __init__(self, bus: Bus, seal: Seal, metrics: Metrics) -> None:
        self._bus = bus
        self._metrics = metrics
        self._seal = seal
        self._asked: dict[str, asyncio.Future[Said | Served]] = {}

    async def stop(self, identity: str, any_id: str, stop: Stop, *, confirm: float, user: str | None) -> Record | None:
        """Stop what an id means that means nothing here.

        Gives the record as its owner has it. An owner that does not confirm in time leaves it running; one that is dead
        leaves it interrupted, or as it ended before. None: no other replica knows it; then the stop waits a short time
        for a generation with that id, wherever it begins.

        Raises:
            BusUnavailableError: nobody can know whether it was stopped.
        """
        if not _is_text(any_id):
            return None
        for _ in range(TRIES):
            place = await self._bus.find(identity, any_id)
            if place is None:
                if not valid_task_id(any_id) or await self._wait_for(identity, any_id, stop, user):
                    await self._be_sure_of_nothing()
                    return None
            elif place.replica == self._bus.replica:
                return None
            else:
                letter = self._stop_it(place, any_id, stop, confirm, user)
                with self.expected(letter.number) as said:
                    sealed = self._seal.close(letter)
                    heard = await self._bus.stop(place, sealed, sealed)
                    if heard is not None:
                        return await self._outcome(place, letter, said, heard)
        return None

    async def serve(
        self, identity: Identity, any_id: str, route: str, request: PlainRequest, confirm: float
    ) -> PlainReply | None:
        """Have the owner of an id serve a request to stop it, in its dialect's words. None: nobody else owns it.

        Raises:
            BusUnavailableError: the owner did not answer, so nobody can know what became of it.
        """
        place = await self.find(identity.name, any_id)
        if place is None or place.replica == self._bus.replica:
            return None
        letter = ServeIt(
            to=place.replica,
            by=self._bus.replica,
            at=self._bus.now(),
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
        with self.expected(letter.number) as said:
            heard = await self._bus.stop(place, self._seal.close(kept), self._seal.close(letter))
            if not heard and not await self._bus.is_alive(place.replica):
                return None  # what it left is for the stores to say
            served = await self._said(letter.number, said, confirm)
        if not isinstance(served, Served):
            raise BusUnavailableError("the owner did not answer")
        if not served.status:
            return None
        return PlainReply(served.status, served.body, served.headers, served.content_type)

    async def find(self, identity: str, any_id: str) -> Place | None:
        """Where the generation is that an id names. None: nobody owns it.

        Raises:
            BusUnavailableError: nobody can know.
        """
        place = await self._bus.find(identity, any_id) if _is_text(any_id) else None
        if place is None:
            await self._be_sure_of_nothing()
        return place

    def came(self, letter: Said | Served) -> None:
        """An answer came."""
        asked = self._asked.get(letter.answers)
        if asked is not None and not asked.done():
            asked.set_result(letter)

    def _stop_it(self, place: Place, any_id: str, stop: Stop, confirm: float, user: str | None) -> StopIt:
        return StopIt(
            to=place.replica,
            by=self._bus.replica,
            at=self._bus.now(),
            identity=place.identity,
            any_id=any_id,
            uid=place.uid,
            user=user,
            confirm=confirm,
            wish=_wish(stop),
        )

    async def _be_sure_of_nothing(self) -> None:
        """Nobody makes the id known.

        Raises:
            BusUnavailableError: that means nothing: the directory was emptied a moment ago.
        """
        if not await self._bus.knows_all():
            raise BusUnavailableError("the directory is not complete")

    async def _wait_for(self, identity: str, any_id: str, stop: Stop, user: str | None) -> bool:
        letter = StopWhenItComes(
            to="",
            by=self._bus.replica,
            at=self._bus.now(),
            identity=identity,
            any_id=any_id,
            user=user,
            wish=_wish(stop),
        )
        return await self._bus.leave_stop(identity, any_id, user, self._seal.close(letter))

    async def _outcome(
        self, place: Place, letter: StopIt, said: "asyncio.Future[Said | Served]", heard: int
    ) -> Record | None:
        about = record_of(place.about)
        if about is None:
            raise BusUnavailableError("another version wrote what is known of it")
        if not heard and not await self._bus.is_alive(place.replica):
            return left(about)
        began = time.monotonic()
        answer = await self._said(letter.number, said, letter.confirm)
        if isinstance(answer, Said):
            record = None if answer.record is None else record_of(answer.record)
            if record is not None and not place.is_over and cancel_result(record) is CancelResult.STOPPED:
                self._metrics.cancel_latency.labels("remote").observe(time.monotonic() - began)
            return record
        if not heard and not await self._bus.is_alive(place.replica):
            return left(about)
        return about if place.is_over else _stopping(about, letter.wish.stop())

    async def _said(self, number: str, said: "asyncio.Future[Said | Served]", confirm: float) -> Said | Served | None:
        """The answer to a letter, if it comes in time: by the channel, or as it is kept for those who missed it."""
        await asyncio.wait([said], timeout=confirm + GRACE_SECONDS)
        return said.result() if said.done() else await self.kept(number)

    async def kept(self, number: str) -> Said | Served | None:
        """The answer to a letter as it is kept for those who missed it.

        Raises:
            BusUnavailableError: it can't be asked for now.
        """
        kept = await self._bus.find_reply(number)
        try:
            answer = None if kept is None else self._seal.open_kept(kept)
        except LetterError:
            return None
        return answer if isinstance(answer, Said | Served) and answer.answers == number else None

    @contextmanager
    def expected(self, number: str) -> "Iterator[asyncio.Future[Said | Served]]":
        """The answer to the letter with this number, while somebody waits for it."""
        said = self._asked[number] = asyncio.get_running_loop().create_future()
        try:
            yield said
        finally:
            del self._asked[number]


def left(about: Record) -> Record:
    """The record of what a dead replica ran, as far as the directory knows."""
    return about if about.outcome is not Outcome.RUNNING else replace(about, outcome=Outcome.INTERRUPTED)


def _stopping(about: Record, stop: Stop) -> Record:
    """The record of what may not have heard of its stop yet."""
    return replace(about, outcome=Outcome.RUNNING, cause=stop.cause, cancelled_by=stop.by, reason=stop.reason)


def _wish(stop: Stop) -> Wish:
    """A stop for a letter, whatever characters its reason has."""
    reason = stop.reason
    return Wish.of(stop if reason is None or _is_text(reason) else replace(stop, reason=_readable(reason)))


def _is_text(text: str) -> bool:
    """Whether it can be sent: half a character can't."""
    return text == _readable(text)


def _readable(text: str) -> str:
    return text.encode(errors="replace").decode()
