"""A ledger that keeps nothing: what the engine costs without one, and engine tests that ask nothing of it."""

import asyncio
from collections.abc import Sequence
from functools import cached_property
from typing import TypeVar

from proxy.core.record import Known, Record
from proxy.stores.conversations.memory import MemoryConversations
from proxy.stores.ledger.outbox import EVERYTHING, ForeignPositionError, OutboxPage
from proxy.stores.ledger.port import Page, RecordFilter, UsedFilter, UsedRow
from proxy.stores.ledger.truths import Attached, Attachment, Drift, Told, Untold
from proxy.stores.ledger.usage import Span, UsageQuery, UsageRow

_T = TypeVar("_T")


class NullLedger:
    """Takes every write as durable at once, and knows no record. See `proxy.stores.ledger.port.Ledger`."""

    @cached_property
    def conversations(self) -> MemoryConversations:
        """Conversations can't be served without being kept: they are, in memory, for as long as the process lives."""
        return MemoryConversations()

    @cached_property
    def outbox(self) -> "NullOutbox":
        """Nothing ever settles."""
        return NullOutbox()

    @property
    def exports(self) -> "NullOutbox":
        """The same: it stays empty."""
        return self.outbox

    @cached_property
    def truths(self) -> "NullTruths":
        """There is no record that anybody could say something of."""
        return NullTruths()

    @property
    def pending(self) -> int:
        """Nothing ever waits."""
        return 0

    @property
    def healthy(self) -> bool:
        """There is nothing that could fail."""
        return True

    @property
    def transactions(self) -> tuple[int, int]:
        """None is ever written."""
        return 0, 0

    def begin(self, _record: Record) -> "asyncio.Future[None]":
        """Done at once."""
        return _done(None)

    def append(self, uid: str, text: str) -> None:
        """Forget the piece."""

    def note(self, uid: str, known: Known) -> None:
        """Forget it."""

    def stop(self, _record: Record) -> "asyncio.Future[None]":
        """Done at once."""
        return _done(None)

    def end(self, _record: Record) -> "asyncio.Future[None]":
        """Done at once."""
        return _done(None)

    async def unsettled(self, _limit: int) -> list[Record]:
        """Nothing was ever left."""
        return []

    def settle(self, _record: Record) -> "asyncio.Future[int]":
        """Done at once, and nothing changed."""
        return _done(0)

    async def find(self, _identity: str | None, _any_id: str) -> Record | None:
        """Find nothing."""
        return None

    async def page(self, _which: RecordFilter, _limit: int, _cursor: str | None) -> Page:
        """Give the empty last page."""
        return Page([], None)

    async def usage(self, _query: UsageQuery) -> list[UsageRow]:
        """Sum nothing."""
        return []

    async def used(self, _which: UsedFilter) -> list[UsedRow]:
        """Sum nothing."""
        return []

    async def sizes(self, _newest: int) -> list[tuple[str | None, str, int]]:
        """Nothing is known."""
        return []

    async def wipe_text(self, uid: str) -> None:
        """There is no text."""

    async def purge(self, _now: float, *, before: float | None = None, dry_run: bool = False) -> tuple[int, int]:  # noqa: ARG002 the port's names
        """There is nothing to delete."""
        return 0, 0

    async def close(self) -> None:
        """There is nothing to close."""


class NullOutbox:
    """An outbox that stays empty. See `proxy.stores.ledger.outbox.Outbox`."""

    def __init__(self) -> None:
        self.grew = asyncio.Event()

    async def after(self, position: int, _limit: int, _span: Span = EVERYTHING, *, text: bool = False) -> OutboxPage:  # noqa: ARG002 the port's signature
        """Give the empty last page."""
        if position:
            raise ForeignPositionError
        return OutboxPage([], 0, 0, more=False)

    async def position(self, _consumer: str) -> int:
        """Nobody was served."""
        return 0

    def advance(self, _consumer: str, _position: int) -> "asyncio.Future[int]":
        """Done at once."""
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        done.set_result(0)
        return done

    async def pending(self, _position: int) -> int:
        """Count nothing."""
        return 0

    def hold(self, consumer: str, *, held: bool) -> None:
        """There is nothing to spare."""


class NullTruths:
    """Later truths about no record. See `proxy.stores.ledger.truths.Truths`."""

    async def attach(self, told: Sequence[Told], *, dry_run: bool = False) -> list[Attachment]:  # noqa: ARG002 the port's signature
        """Every record is unknown."""
        return [Attachment(Attached.UNKNOWN) for _ in told]

    async def untold(self, _upstream: str, _source: str, _position: int, _limit: int, _span: Span) -> list[Untold]:
        """There is no record."""
        return []

    async def drift(self, _span: Span) -> list[Drift]:
        """There is nothing to compare."""
        return []


def _done(result: _T) -> "asyncio.Future[_T]":
    done: asyncio.Future[_T] = asyncio.get_running_loop().create_future()
    done.set_result(result)
    return done
