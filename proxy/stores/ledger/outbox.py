"""The port of the outbox: ended records and later truths, in the order in which they came to the disk.

Whoever reads it keeps a position. What was read behind a position is all there was, and will never be other: exports
and the sink go on where they were, after a restart too.
"""

import asyncio
from dataclasses import dataclass
from typing import Final, Protocol

from proxy.core.settled import Settled
from proxy.stores.ledger.usage import Span

EVERYTHING: Final = Span()


class ForeignPositionError(Exception):
    """The position lies behind the end: it was read from another ledger, or from a newer copy of this one."""


@dataclass(frozen=True, slots=True)
class OutboxPage:
    """Versions in their order. `position` is where to go on, `end` the last position there is.

    `more`: whether there already is something behind `position`.
    """

    settled: list[Settled]
    position: int
    end: int
    more: bool


class Versions(Protocol):
    """What has settled."""

    async def after(self, position: int, limit: int, span: Span = EVERYTHING, *, text: bool = False) -> OutboxPage:
        """The next versions behind a position, at most `limit`; without the texts unless they are asked for.

        Raises:
            ForeignPositionError: there was never so much in this ledger.
            LedgerUnavailableError: it can't be read.
        """
        ...


class Outbox(Versions, Protocol):
    """What has settled here, and how far each consumer has been served."""

    @property
    def grew(self) -> asyncio.Event:
        """Set with each version that came to the disk; whoever waits for more clears it before looking."""
        ...

    async def position(self, consumer: str) -> int:
        """How far a consumer has been served; 0 for a new one.

        Raises:
            LedgerUnavailableError: it can't be read.
        """
        ...

    def advance(self, consumer: str, position: int) -> "asyncio.Future[int]":
        """Note that a consumer has been served up to there; never goes back. The future is done when it is on disk.

        Raises:
            LedgerUnavailableError: the ledger takes no writes.
        """
        ...

    async def pending(self, position: int) -> int:
        """How many versions there are behind a position.

        Raises:
            LedgerUnavailableError: it can't be read.
        """
        ...

    def hold(self, consumer: str, *, held: bool) -> None:
        """Let purges spare the records that a consumer was not served yet, or no longer."""
        ...
