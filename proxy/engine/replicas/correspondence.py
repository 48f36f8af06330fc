"""Letters to other replicas, and the answers that come back: what all that is asked of them has in common."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from proxy.core.letters import Answer, AnyLetter, LetterError, LookAt, Seal, Served, ServeIt
from proxy.engine.plain import PlainReply
from proxy.stores.bus.port import Bus

GRACE_SECONDS: Final = 0.2
"""An owner waits as long as we were told to; its answer needs some time to come here too."""

Expected = asyncio.Future[Answer]


class Correspondence:
    """One replica's hand at the bus. Each letter has a number, and its answer names that."""

    def __init__(self, bus: Bus, seal: Seal) -> None:
        self.bus = bus
        self._seal = seal
        self._asked: dict[str, Expected] = {}

    def head(self, to: str) -> dict[str, Any]:
        """The fields that every letter has."""
        return {"to": to, "by": self.bus.replica, "at": self.bus.now()}

    def served(self, letter: ServeIt | LookAt, reply: PlainReply, *, streams: bool = False) -> Served:
        """The answer that has a reply to a request; `streams`: its body follows in parcels."""
        return Served(
            **self.head(letter.by),
            answers=letter.number,
            status=reply.status,
            content_type=reply.content_type,
            headers=tuple(reply.headers),
            body=reply.body,
            streams=streams,
        )

    def close(self, letter: AnyLetter) -> bytes:
        """The letter as it goes over the bus."""
        return self._seal.close(letter)

    def came(self, letter: Answer) -> None:
        """An answer came. It may be long, so the bus keeps it no longer: nobody else asks for it."""
        self.bus.drop_reply(letter.answers)
        asked = self._asked.get(letter.answers)
        if asked is not None and not asked.done():
            asked.set_result(letter)

    @contextmanager
    def expected(self, number: str) -> Iterator[Expected]:
        """Take the answer to the letter with this number while this goes on."""
        said = self._asked[number] = asyncio.get_running_loop().create_future()
        try:
            yield said
        finally:
            del self._asked[number]

    async def said(self, number: str, said: Expected, confirm: float) -> Answer | None:
        """The answer to a letter, if it comes in time: by the channel, or as it is kept for those who missed it.

        Raises:
            BusUnavailableError: it can't be asked for.
        """
        await asyncio.wait([said], timeout=confirm + GRACE_SECONDS)
        kept = None if said.done() else await self.kept(number)
        return said.result() if said.done() else kept  # it may have come while we looked

    async def kept(self, number: str) -> Answer | None:
        """The answer to a letter as it is kept for those who missed it.

        Raises:
            BusUnavailableError: it can't be asked for.
        """
        kept = await self.bus.find_reply(number)
        try:
            answer = None if kept is None else self._seal.open_kept(kept)
        except LetterError:
            return None
        if not isinstance(answer, Answer) or answer.answers != number:
            return None
        self.bus.drop_reply(number)
        return answer
