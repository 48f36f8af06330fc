"""Readers: cursors over a tape. One that keeps up is written to straight through, one that lags reads on by itself."""

import asyncio
from collections.abc import Sequence
from typing import Protocol

from proxy.core.headers import HeaderPair


class Sink(Protocol):
    """The downstream end of a reader: a socket that takes bytes without waiting."""

    def write(self, data: bytes) -> bool:
        """Hand over bytes; False when the socket wants no more for now (it took these all the same) or is gone."""
        ...

    def comment(self, data: bytes) -> None:
        """Hand over a sign of life, which is no part of what the stream says."""
        ...


class Outlet(Sink, Protocol):
    """A sink that can be waited for."""

    async def drained(self, deadline: float) -> None:
        """Wait until it wants bytes again.

        Raises:
            ConnectionError: it is gone, or took nothing at all for `deadline` seconds.
        """
        ...


class Opening(Protocol):
    """An observer who has been told nothing yet. Whatever is refused is refused before its stream is opened."""

    async def begin(self, generation: str, headers: Sequence[HeaderPair]) -> Outlet:
        """Send the head of a stream of events with these headers; what follows goes into the outlet.

        Args:
            generation: the `uid` of what is read.
            headers: of the answer.

        Raises:
            Refusal: as many read it, or read through other replicas, as may.
            ConnectionError: the observer left.
        """
        ...


class Reader:
    """One receiver of a generation's stream.

    `holds`: it keeps the generation wanted; an operator who looks on does not. `direct`: it has everything that is on
    the tape, so the relay writes to its sink; otherwise whoever serves it moves the cursor. `lags`: its sink wanted no
    more.
    """

    __slots__ = ("_woken", "cursor", "direct", "holds", "lags", "last_comment", "sink")

    def __init__(self, *, holds: bool) -> None:
        self.holds = holds
        self.cursor = 0
        self.direct = False
        self.lags = False
        self.last_comment = 0.0
        self.sink: Sink | None = None
        self._woken = asyncio.Event()

    def push(self, data: bytes) -> None:
        """New bytes are on the tape: write them through, or wake whoever serves this reader."""
        if not self.direct or self.sink is None:
            self._woken.set()
            return
        self.cursor += len(data)
        if not self.sink.write(data):
            self.direct = False
            self.lags = True
            self._woken.set()

    def wake(self) -> None:
        """Something happened that is no bytes: the end."""
        self._woken.set()

    async def woken(self) -> None:
        """Wait for new bytes that were not written through, or the end."""
        await self._woken.wait()
        self._woken.clear()
