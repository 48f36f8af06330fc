"""One stream that is read from another replica: its bytes in order, whatever comes twice or not at all."""

import asyncio
from collections.abc import Callable
from typing import Final

from proxy.core.headers import HeaderPair
from proxy.core.letters import LookAt
from proxy.core.parcels import Kind, Piece

TELL_BYTES: Final = 2 * 1024
"""From so much on it is told what was taken, before it is told in any case: less than the least window."""


class Reading:
    """A stream of another replica's.

    `letter`: the last one that asked for it. `position`: how much of it has come. `taken`: how much its client took.
    `is_lost`: something of it got lost, so it is to be asked for again. `ending`: how it ended, once all of it is here.
    """

    def __init__(self, letter: LookAt, now: float, on_change: "Callable[[Reading], None]") -> None:
        """Nothing has come yet; `on_change` is told when there is something to tell the owner."""
        self.letter = letter
        self.heard_at = now
        self.headers: tuple[HeaderPair, ...] = ()
        self.position = self.taken = self.told = 0
        self.is_lost = False
        self.ending: Kind | None = None
        self._on_change = on_change
        self._waiting: list[bytes] = []
        self._given = 0
        self._news = asyncio.Event()

    @property
    def is_over(self) -> bool:
        """Whether nothing more comes."""
        return self.ending is not None

    @property
    def is_broken(self) -> bool:
        """Whether it ended so that nobody must take it for complete."""
        return self.ending is Kind.BROKEN

    def take(self, piece: Piece, now: float) -> None:
        """A piece of it came."""
        self.heard_at = now
        if self.is_over:
            return
        if piece.at > self.position:
            if piece.reading == self.letter.number and not self.is_lost:
                self.is_lost = True
                self._on_change(self)
            return
        if piece.kind is Kind.SAID:
            self._add(piece.data[self.position - piece.at :])
        elif piece.at == self.position and piece.kind is Kind.ASIDE:
            self._waiting.append(piece.data)
            self._given -= len(piece.data)  # it will be taken, and has no place in the stream
            self._news.set()
        elif piece.at == self.position and piece.kind in (Kind.ENDED, Kind.BROKEN):
            self.end(piece.kind)

    def _add(self, data: bytes) -> None:
        if data:
            self._waiting.append(data)
            self.position += len(data)
            self._news.set()

    def end(self, kind: Kind) -> None:
        """Nothing more comes."""
        self.ending = self.ending or kind
        self._news.set()

    async def read(self) -> bytes:
        """What has come since; empty at the end. Whoever reads on has taken what was given before."""
        self._took()
        while not self._waiting and not self.is_over:
            self._news.clear()
            await self._news.wait()
        data = b"".join(self._waiting)
        self._waiting.clear()
        self._given += len(data)
        return data

    def _took(self) -> None:
        self.taken += self._given
        self._given = 0
        if self.taken - self.told >= TELL_BYTES:
            self._on_change(self)
