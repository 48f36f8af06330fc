"""A ledger that keeps nothing: what the engine costs without one, and engine tests that ask nothing of it."""

import asyncio
from functools import cached_property

from proxy.core.record import Record
from proxy.stores.conversations_memory import MemoryConversations
from proxy.stores.ports import Page, RecordFilter, UsageGroup, UsageRow, UsedFilter, UsedRow


class NullLedger:
    """Takes every write as durable at once, and knows no record. See `proxy.stores.ports.Ledger`."""

    @cached_property
    def conversations(self) -> MemoryConversations:
        """Conversations can't be served without being kept: they are, in memory, for as long as the process lives."""
        return MemoryConversations()

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
        return _done()

    def append(self, uid: str, text: str) -> None:
        """Forget the piece."""

    def end(self, _record: Record) -> "asyncio.Future[None]":
        """Done at once."""
        return _done()

    async def find(self, _identity: str | None, _any_id: str) -> Record | None:
        """Find nothing."""
        return None

    async def page(self, _which: RecordFilter, _limit: int, _cursor: str | None) -> Page:
        """Give the empty last page."""
        return Page([], None)

    async def usage(self, _since: float, _by: UsageGroup) -> list[UsageRow]:
        """Sum nothing."""
        return []

    async def sizes(self, _newest: int) -> list[tuple[str | None, str, int]]:
        """Nothing is known."""
        return []

    async def used(self, _which: UsedFilter) -> list[UsedRow]:
        """Sum nothing."""
        return []

    async def wipe_text(self, uid: str) -> None:
        """There is no text."""

    async def purge(self, _now: float) -> tuple[int, int]:
        """There is nothing to delete."""
        return 0, 0

    async def close(self) -> None:
        """There is nothing to close."""


def _done() -> "asyncio.Future[None]":
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    done.set_result(None)
    return done
