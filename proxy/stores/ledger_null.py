"""A ledger that keeps nothing: what the engine costs without one, and engine tests that ask nothing of it."""

import asyncio
from functools import cached_property
from typing import TypeVar

from proxy.core.record import Known, Record
from proxy.stores.conversations_memory import MemoryConversations
from proxy.stores.ports import Page, RecordFilter, UsageGroup, UsageRow

_T = TypeVar("_T")


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
        return _done(None)

    def append(self, uid: str, text: str) -> None:
        """Forget the piece."""

    def note(self, uid: str, known: Known) -> None:
        """Forget it."""

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

    async def usage(self, _since: float, _by: UsageGroup) -> list[UsageRow]:
        """Sum nothing."""
        return []

    async def wipe_text(self, uid: str) -> None:
        """There is no text."""

    async def purge(self, _now: float, *, before: float | None = None, dry_run: bool = False) -> tuple[int, int]:  # noqa: ARG002 the port's names
        """There is nothing to delete."""
        return 0, 0

    async def close(self) -> None:
        """There is nothing to close."""


def _done(result: _T) -> "asyncio.Future[_T]":
    done: asyncio.Future[_T] = asyncio.get_running_loop().create_future()
    done.set_result(result)
    return done
