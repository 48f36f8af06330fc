"""What goes to other replicas in parcels: gathered for a moment, so that many readers' events share one of them."""

import asyncio
import contextlib
from collections import defaultdict
from typing import Final

from proxy.core.parcels import Kind, Parcels, Piece
from proxy.engine.tasks import Tasks
from proxy.stores.bus.port import Bus, BusUnavailableError

GATHER_SECONDS: Final = 0.005
"""So long what comes waits for more: at most 200 parcels a second go to a replica, however much is read through it."""
PARCEL_BYTES: Final = 256 * 1024
"""So much goes into one parcel, before it is packed."""

_Waiting = dict[str, list[Piece]]


class Shipping:
    """Sends pieces in the order in which they come, one parcel after the other to each replica.

    What the bus does not take is lost: its reader finds a gap, and asks again.
    """

    def __init__(self, bus: Bus, parcels: Parcels) -> None:
        self._bus = bus
        self._parcels = parcels
        self._waiting: defaultdict[str, _Waiting] = defaultdict(dict)
        self._tasks = Tasks()

    def put(self, to: str, piece: Piece) -> None:
        """Send a piece to a replica, soon."""
        if to not in self._waiting:
            self._tasks.start(self._ship(to), "ship what is read elsewhere")
        self._waiting[to].setdefault(piece.reading, []).append(piece)

    async def close(self) -> None:
        """Send what waits."""
        await self._tasks.finish()

    async def _ship(self, to: str) -> None:
        try:
            while True:
                await asyncio.sleep(GATHER_SECONDS)
                if not (pieces := self._next(to)):
                    return
                with contextlib.suppress(BusUnavailableError):
                    await self._bus.ship(to, self._parcels.close(to, pieces))
        finally:
            del self._waiting[to]

    def _next(self, to: str) -> list[Piece]:
        waiting, found, size = self._waiting[to], list[Piece](), 0
        while waiting and size < PARCEL_BYTES:
            reading = next(iter(waiting))
            for piece in _joined(waiting.pop(reading)):
                found.append(piece)
                size += len(piece.data)
        return found


def _joined(pieces: list[Piece]) -> list[Piece]:
    """The pieces of one reading, those that say something together as long as nothing comes between."""
    if len(pieces) == 1:
        return pieces
    found: list[Piece] = []
    said: list[Piece] = []
    for piece in pieces:
        if piece.kind is Kind.SAID:
            said.append(piece)
            continue
        found += _one(said)
        said = []
        found.append(piece)
    return found + _one(said)


def _one(said: list[Piece]) -> list[Piece]:
    if len(said) <= 1:
        return said
    first = said[0]
    return [Piece(first.reading, first.at, Kind.SAID, b"".join(piece.data for piece in said))]
