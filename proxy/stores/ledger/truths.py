"""The port of later truths: what others say of a generation, attached to its record, and how far that is from it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Protocol

from proxy.core.record import Record
from proxy.core.settled import Truth
from proxy.stores.ledger.usage import Span


class Attached(StrEnum):
    """What became of a later truth."""

    ATTACHED = "attached"
    """It is a new revision of its record."""
    UNCHANGED = "unchanged"
    """The same source had said the same before."""
    UNKNOWN = "unknown"
    """No record has this upstream id."""
    AMBIGUOUS = "ambiguous"
    """More than one record has it; naming the upstream may help."""
    NOT_ENDED = "not_ended"
    """Its generation still runs, or was cut off by a kill and is not counted yet."""


@dataclass(frozen=True, slots=True)
class Told:
    """A truth, and which record it is about: the one with this upstream id, of this upstream (None: of any)."""

    upstream_id: str
    truth: Truth
    upstream: str | None = None


@dataclass(frozen=True, slots=True)
class Attachment:
    """What became of one truth; the record that it is about, if there is one to be sure of.

    `before` is what the same source had said of it last.
    """

    result: Attached
    record: Record | None = None
    before: Truth | None = None


@dataclass(frozen=True, slots=True)
class Untold:
    """An ended record that a source has said nothing of yet. `position` is where to go on."""

    position: int
    upstream_id: str


@dataclass(slots=True)
class Drift:
    """Our numbers beside what one source said last, summed over the records of an upstream and model that it told of.

    Only what both sides know is compared; None: of no record do they.
    """

    upstream: str
    model: str | None
    source: str
    records: int = 0
    prompt_ours: int | None = None
    prompt_theirs: int | None = None
    completion_ours: int | None = None
    completion_theirs: int | None = None
    not_compared: int = 0
    """Records of which one side knows no tokens that the other side knows too."""
    costs: dict[str, tuple[Decimal, Decimal]] = field(default_factory=dict)
    """Ours and theirs, by currency."""


class Truths(Protocol):
    """Later truths. The records' own numbers never change by them."""

    async def attach(self, told: Sequence[Told], *, dry_run: bool = False) -> list[Attachment]:
        """Attach truths, all of them in one transaction; gives what became of each, on disk when it returns.

        What one source has said once of a record is no new revision when it says it again: replays change nothing.

        Args:
            told: the truths.
            dry_run: only look; nothing is written.

        Raises:
            LedgerUnavailableError: the ledger can't be read or written; nothing was attached.
        """
        ...

    async def untold(self, upstream: str, source: str, position: int, limit: int, span: Span) -> list[Untold]:
        """Ended records of an upstream, with an upstream id, of which `source` has said nothing, oldest first.

        Raises:
            LedgerUnavailableError: the ledger can't be read.
        """
        ...

    async def drift(self, span: Span) -> list[Drift]:
        """How far our numbers are from what each source said last, for each upstream, model and source.

        Raises:
            LedgerUnavailableError: the ledger can't be read.
        """
        ...
