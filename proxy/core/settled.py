"""What of a record is for ever: its end, and each later truth about it, under an id that never changes."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from proxy.core.money import cost_text
from proxy.core.receipt import iso, shown
from proxy.core.record import Record

TRUTH_COUNTS: Final = ("prompt_tokens", "completion_tokens", "cached_tokens", "reasoning_tokens")


@dataclass(frozen=True, slots=True)
class Truth:
    """What somebody says of a generation after its end, such as its provider's bill. Unknown is None, never 0.

    `source` names who says it; `at` is when it came here, in seconds since the epoch. Never replaces the record's own
    numbers.
    """

    source: str
    at: float
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None
    cost: Decimal | None = None
    currency: str | None = None


@dataclass(frozen=True, slots=True)
class Settled:
    """One version of an ended record: revision 1 is its end, each further one has a later truth.

    `number` counts up over the whole ledger in the order in which versions came to the disk. It is a position, no
    name: exports and events are known by `id`.
    """

    number: int
    revision: int
    record: Record
    truth: Truth | None = None

    @property
    def id(self) -> str:
        """The name of this version: a function of the record's uid and the revision, the same for ever."""
        return f"{self.record.uid}.{self.revision}"


def shown_truth(truth: Truth | None) -> dict[str, Any] | None:
    """A later truth as JSON shows it."""
    if truth is None:
        return None
    return {
        "source": truth.source,
        "at": iso(truth.at),
        **{name: getattr(truth, name) for name in TRUTH_COUNTS},
        "cost": None if truth.cost is None else cost_text(truth.cost),
        "currency": truth.currency,
    }


def exported(settled: Settled, *, text: bool = False) -> dict[str, Any]:
    """A version as exports show it: the record as it ended, with the later truth beside its own numbers."""
    return {
        "id": settled.id,
        "revision": settled.revision,
        **shown(settled.record, text=text),
        "truth": shown_truth(settled.truth),
    }
