"""The ports: what the engine asks of a store. Each has one contract test suite, run over every implementation."""

import asyncio
from collections.abc import Collection
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal, Protocol

from proxy.core.record import Known, Record
from proxy.stores.conversations.port import Conversations
from proxy.stores.ledger.outbox import Outbox, Versions
from proxy.stores.ledger.truths import Truths
from proxy.stores.ledger.usage import UsageQuery, UsageRow


class LedgerUnavailableError(Exception):
    """The ledger can't take a write; new work must be refused, running work goes on.

    `hint`: what somebody must do, where waiting does not help; else empty.
    """

    def __init__(self, *args: object, hint: str = "") -> None:
        super().__init__(*args)
        self.hint = hint


@dataclass(frozen=True, slots=True)
class RecordFilter:
    """Which records a list shows; None means any."""

    identity: str | None = None
    user: str | None = None
    key_id: str | None = None
    route: str | None = None
    model: str | None = None
    tag: tuple[str, str] | None = None
    state: Literal["live", "ended"] | None = None
    started_before: float | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """A page of records, newest first; `next_cursor` is None on the last one."""

    records: list[Record]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class UsedFilter:
    """Whose use is summed, at each replica: of what started from `since` until `before` (seconds since the epoch).

    `by_user`: for each user of each caller; those that name none together. `without` are uids that don't count. Of
    more than `most` the largest are given.
    """

    since: float
    before: float
    by_user: bool
    most: int
    without: Collection[str] = ()


@dataclass(frozen=True, slots=True)
class UsedRow:
    """What one caller, or one user of it, has used at one replica: sums, in which what is unknown counts as nothing."""

    identity: str
    user: str | None
    replica: str
    seconds: float
    completion_tokens: int
    cost: Decimal


class Ledger(Protocol):
    """Billing truth. Writes are queued at once and grouped into transactions; a future is the proof of durability."""

    @property
    def conversations(self) -> Conversations:
        """The conversation store that goes with it, in the same file."""
        ...

    @property
    def outbox(self) -> Outbox:
        """What this process has settled, in its order: what the sink reads."""
        ...

    @property
    def exports(self) -> Versions:
        """What all who share the ledger have settled, in its order: what exports read."""
        ...

    @property
    def truths(self) -> Truths:
        """What others say later of the records."""
        ...

    @property
    def pending(self) -> int:
        """How many writes wait for the disk."""
        ...

    @property
    def healthy(self) -> bool:
        """False after a START failed or was late, until a write succeeds again, and while the disk has no room."""
        ...

    @property
    def transactions(self) -> tuple[int, int]:
        """How many transactions were written since the start, and how many failed."""
        ...

    def begin(self, record: Record) -> "asyncio.Future[None]":
        """Queue the START of a generation; the future is done when it is on disk.

        Raises:
            LedgerUnavailableError: the queue is full, the disk is, or the ledger is closed (the future may fail with it
                too).
        """
        ...

    def append(self, uid: str, text: str) -> None:
        """Queue the next piece of a running generation's partial text, in order; never waits."""
        ...

    def note(self, uid: str, known: Known) -> None:
        """Queue what is known of a running generation, written with its next piece; the newest counts; never waits."""
        ...

    def stop(self, record: Record) -> "asyncio.Future[None]":
        """Queue how a generation ends that a stop has released, and whose upstream is still read on; the newest counts.

        It runs on. When its END never comes, because the process dies, this is its end: the cause says the outcome,
        and without one its answer was complete. The future is done once that is on disk; it fails when the record was
        not begun here or runs no more.
        """
        ...

    def end(self, record: Record) -> "asyncio.Future[None]":
        """Queue the END: every field of the record, once. A second END for the same uid changes nothing."""
        ...

    async def unsettled(self, limit: int) -> list[Record]:
        """Some of the records that a dead process left, and that are still to be counted and priced, with their text.

        `characters` of one without completion tokens is how many count as such, as far as the dead process told.

        Raises:
            LedgerUnavailableError: the ledger can't be read.
        """
        ...

    def settle(self, record: Record) -> "asyncio.Future[int]":
        """Queue the numbers of one of `unsettled`, after which it never changes again; gives 1, a second call 0.

        Raises:
            LedgerUnavailableError: as for `begin`.
        """
        ...

    async def find(self, identity: str | None, any_id: str) -> Record | None:
        """The newest record that `any_id` names: by task id first, then message id or upstream id.

        `identity` None looks at everybody's (the operator). Text of a running or interrupted record is joined from
        its pieces.
        """
        ...

    async def page(self, which: RecordFilter, limit: int, cursor: str | None) -> Page:
        """A page of records, newest first, each with no more of its text than a list needs to show its beginning.

        Raises:
            ValueError: the cursor is not one that this ledger gave out.
        """
        ...

    async def usage(self, query: UsageQuery) -> list[UsageRow]:
        """Sums over the records that a query means, groups with the most tokens first; days are UTC.

        Raises:
            TooManyGroupsError: there are more groups than one answer takes.
            LedgerUnavailableError: the ledger can't be read.
        """
        ...

    async def used(self, which: UsedFilter) -> list[UsedRow]:
        """What was used, largest first."""
        ...

    async def sizes(self, newest: int) -> list[tuple[str | None, str, int]]:
        """Model, route and completion tokens of the complete answers among so many newest records, oldest first.

        Raises:
            LedgerUnavailableError: it can't be read.
        """
        ...

    async def wipe_text(self, uid: str) -> None:
        """Delete the text of one record; the numbers stay."""
        ...

    async def purge(self, now: float, *, before: float | None = None, dry_run: bool = False) -> tuple[int, int]:
        """Delete what retention has passed; gives (texts wiped, records deleted).

        Records that a held consumer of the outbox was not served yet stay.

        Args:
            now: seconds since the epoch.
            before: instead of what retention says, the records that ended before then.
            dry_run: delete nothing, only say how many it would be.
        """
        ...

    async def close(self) -> None:
        """Write what is queued, then close."""
        ...
