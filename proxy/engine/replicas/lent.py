"""One reading that is read through another replica: the outlet of its stream, which goes there piece by piece."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

from proxy.core.parcels import Kind, Piece
from proxy.engine.replicas.shipping import Shipping

PIECE_BYTES: Final = 16 * 1024


class ReaderGoneError(ConnectionResetError):
    """An observer elsewhere has left, or takes nothing."""


class Lent:
    """An outlet whose other end is elsewhere: it sends no more than a window beyond what was taken there.

    `sent` and `taken` are positions in the stream. `heard_at`: when its reader was last heard of.
    """

    def __init__(self, reading: str, to: str, skip: int, shipping: Shipping, window: Callable[[], int]) -> None:
        """Nothing is sent yet.

        Args:
            reading: its name there.
            to: the replica that it is read through.
            skip: so many bytes of the stream are there already.
            shipping: takes the pieces.
            window: how many bytes may be on their way now.
        """
        self.to = to
        self._reading = reading
        self._skip = self.sent = self.taken = skip
        self._shipping = shipping
        self._window = window
        self._held: deque[memoryview] = deque()
        self._room = asyncio.Event()
        self.heard_at = 0.0
        self.is_gone = False

    def write(self, data: bytes) -> bool:
        """Send bytes, or hold them until there is room, see `Sink`."""
        if self._skip:
            data, self._skip = data[self._skip :], max(self._skip - len(data), 0)
        if self.is_gone:
            return False
        if data:
            self._held.append(memoryview(data))
            self._send()
        return not self._is_full

    def comment(self, data: bytes) -> None:
        """Send a sign of life, see `Sink`."""
        if not self._held:
            self._shipping.put(self.to, Piece(self._reading, self.sent, Kind.ASIDE, data))

    async def drained(self, deadline: float) -> None:
        """Wait until there is room, see `Outlet`."""
        while self._is_full and not self.is_gone:
            before = self.taken
            self._room.clear()
            try:
                async with asyncio.timeout(deadline):
                    await self._room.wait()
            except TimeoutError:
                if self.taken == before:
                    break
        if self._is_full or self.is_gone:
            raise ReaderGoneError("the observer left, or takes nothing")

    def heard(self, taken: int, now: float) -> None:
        """It is still wanted, and so much of it was taken."""
        self.heard_at = now
        self.taken = max(self.taken, min(taken, self.sent))
        self._send()
        if not self._is_full:
            self._room.set()

    def leave(self) -> None:
        """Nobody wants it any more."""
        self.is_gone = True
        self._held.clear()
        self._room.set()

    def say(self, kind: Kind) -> None:
        """Send a piece that is no bytes."""
        self._shipping.put(self.to, Piece(self._reading, self.sent, kind))

    @property
    def _is_full(self) -> bool:
        return bool(self._held) or self.sent - self.taken >= self._window()

    def _send(self) -> None:
        room = self.taken + self._window() - self.sent
        while self._held and room > 0:
            first = self._held.popleft()
            size = min(room, PIECE_BYTES, len(first))
            if size < len(first):
                self._held.appendleft(first[size:])
            self._shipping.put(self.to, Piece(self._reading, self.sent, Kind.SAID, bytes(first[:size])))
            self.sent += size
            room -= size
