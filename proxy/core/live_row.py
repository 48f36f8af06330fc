"""The live table: each generation that lives as one row, and the order of the rows. Pure; the time is passed in."""

import base64
import json
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from operator import itemgetter
from typing import Any, Final, Literal, TypeAlias, TypeVar, get_args

from proxy.core.begun import phase_of
from proxy.core.lifecycle import Phase
from proxy.core.money import cost_text
from proxy.core.receipt import iso
from proxy.core.record import Record, UsageSource

LiveState = Literal["queued", "connecting", "waiting", "streaming", "reading_on"]
"""What a generation does now. `reading_on`: its client is gone or was released by a stop, and the upstream is still
read for its usage."""
STATES: Final[tuple[LiveState, ...]] = get_args(LiveState)

LiveSort = Literal["age", "state", "route", "upstream", "model", "key", "user", "tokens", "cost", "replica"]
SORTS: Final[tuple[LiveSort, ...]] = get_args(LiveSort)

FALL_BY_THEMSELVES: Final = frozenset({"tokens", "cost"})
"""Where the largest come first unless somebody wants it otherwise. The youngest do by `age`, as it is smallest."""

NUMBERS: Final = frozenset({"age", "state", "tokens", "cost"})
"""Whose keys are numbers; those of the others are words."""

MOVING: Final = frozenset({"state", "tokens", "cost"})
"""By these a row may change its place while nothing begins or ends."""

T = TypeVar("T")

Entry: TypeAlias = tuple[Any, float, str, T]
"""What is put in order: its key (None: unknown), its start in seconds since the epoch, its uid, and itself."""


@dataclass(frozen=True, slots=True)
class Live:
    """A generation that lives: its record with the numbers so far, and without text; what it does."""

    record: Record
    state: LiveState


@dataclass(frozen=True, slots=True)
class LiveCounts:
    """How many live, and of those how many are read on behind a stop, or wait for a slot.

    `orphans`: calls that are open and should not be, see `OpenCall.is_orphan`.
    """

    live: int = 0
    reading_on: int = 0
    queued: int = 0
    orphans: int = 0

    def __add__(self, other: "LiveCounts") -> "LiveCounts":
        return LiveCounts(
            self.live + other.live,
            self.reading_on + other.reading_on,
            self.queued + other.queued,
            self.orphans + other.orphans,
        )


@dataclass(frozen=True, slots=True)
class Order:
    """The order of a live table. `falls`: the largest first; what is unknown comes last in any case."""

    sort: LiveSort = "age"
    falls: bool = False

    @property
    def is_newest_first(self) -> bool:
        """Whether it is the order of every list."""
        return self.sort == "age" and not self.falls


_STATE_IN: Final[Mapping[Phase, LiveState]] = {
    Phase.QUEUED: "queued",
    Phase.CONNECTING: "connecting",
    Phase.WAITING: "waiting",
    Phase.STREAMING: "streaming",
}


def state_of(phase: Phase | None, *, reads_on: bool = False, has_begun: bool = False) -> LiveState:
    """What a generation does; of one that has ended, and is only not written yet, what it did last.

    `has_begun`: the first byte of its answer came.
    """
    if reads_on:
        return "reading_on"
    if phase is None or phase is Phase.FINISHED:
        return "streaming" if has_begun else "waiting"
    return _STATE_IN[phase]


def live_of(record: Record) -> Live:
    """A live record of which nobody said more than what is in it."""
    return Live(record, state_of(phase_of(record), has_begun=record.first_token_at is not None))


def about_now(live: Live, wall: float) -> dict[str, Any]:
    """What a row says besides the record; `wall` is now, in seconds since the epoch."""
    record = live.record
    return {
        "id": record.message_id,
        "age_seconds": round(max(wall - record.started_at, 0.0), 3),
        "state": live.state,
        "cancel_asked": record.cause is not None,
    }


def numbers(
    tokens: int | None, source: UsageSource, characters: int | None, cost: Decimal | None, currency: str | None
) -> dict[str, Any]:
    """What of a row grows while it runs: completion tokens, whose count that is, characters, and what they cost."""
    return {
        "completion_tokens": tokens,
        "usage_source": source.value,
        "characters": characters,
        "cost": None if cost is None else cost_text(cost),
        "currency": currency,
    }


def row(live: Live, wall: float) -> dict[str, Any]:
    """A row of the live table; `wall` is now, in seconds since the epoch."""
    record = live.record
    phase = phase_of(record)
    return {
        **about_now(live, wall),
        "task_id": record.task_id,
        "upstream_id": record.upstream_id,
        "started_at": iso(record.started_at),
        "phase": None if phase is None else phase.value,
        "dialect": record.dialect,
        "route": record.route,
        "upstream": record.upstream,
        "model": record.model,
        "key_id": record.key_id,
        "user": record.user,
        "tags": record.tags,
        **numbers(record.completion_tokens, record.usage_source, record.characters, record.cost, record.currency),
        "replica": record.replica,
        "first_token_at": iso(record.first_token_at),
    }


def gone(record: Record) -> dict[str, Any]:
    """What became of a row: its generation is over."""
    return {
        "id": record.message_id,
        "task_id": record.task_id,
        "outcome": record.outcome.value,
        "cause": None if record.cause is None else record.cause.value,
        "elapsed_seconds": record.elapsed_seconds,
        "completion_tokens": record.completion_tokens,
        "usage_source": record.usage_source.value,
        "upstream_closed_ms": record.upstream_closed_ms,
    }


_KEYS: Final[Mapping[LiveSort, Callable[[Live], Any]]] = {
    "age": lambda live: -live.record.started_at,
    "state": lambda live: STATES.index(live.state),
    "route": lambda live: live.record.route,
    "upstream": lambda live: live.record.upstream,
    "model": lambda live: live.record.model,
    "key": lambda live: live.record.key_id,
    "user": lambda live: live.record.user,
    "tokens": lambda live: live.record.completion_tokens,
    "cost": lambda live: None if live.record.cost is None else float(live.record.cost),
    "replica": lambda live: live.record.replica,
}


def entry_of(live: Live, sort: LiveSort) -> Entry[Live]:
    """A row as it is put in order."""
    return _KEYS[sort](live), live.record.started_at, live.record.uid, live


def in_order(entries: Iterable[Entry[T]], order: Order) -> list[Entry[T]]:
    """These in their order; among equals, and where nothing is known, the newest first."""
    newest = sorted(entries, key=itemgetter(1, 2), reverse=True)
    if order.is_newest_first:
        return newest
    known = [entry for entry in newest if entry[0] is not None]
    known.sort(key=itemgetter(0), reverse=order.falls)
    return known if len(known) == len(newest) else known + [entry for entry in newest if entry[0] is None]


def behind(entries: Iterable[Entry[T]], order: Order, place: Entry[None] | None) -> list[Entry[T]]:
    """What stands behind a place in the order; None: all of it."""
    if place is None:
        return in_order(entries, order)
    marked: list[Entry[T | None]] = [entry for entry in entries if entry[2] != place[2]]
    ordered = in_order([*marked, place], order)
    at = next(number for number, entry in enumerate(ordered) if entry[2] == place[2])
    return ordered[at + 1 :]  # type: ignore[return-value] # the place itself is the only one without a thing


def cursor_of(entry: Entry[Any], order: Order) -> str:
    """Where the next page of a live table goes on, for whoever asks in the same order again."""
    key, started, uid, _ = entry
    text = json.dumps([order.sort, order.falls, key, started, uid])
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def place_in(cursor: str, order: Order) -> Entry[None]:
    """The place that a cursor names.

    Raises:
        ValueError: it was not given out for this order.
    """
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        sort, falls, key, started, uid = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError("no cursor of a live table") from error
    fits = key is None or (_is_number(key) if order.sort in NUMBERS else isinstance(key, str))
    if (sort, falls) != (order.sort, order.falls) or not (fits and _is_number(started) and isinstance(uid, str)):
        raise ValueError("a cursor of another order")
    return key, started, uid, None


def _is_number(value: object) -> bool:
    """Whether it is a number that a time or a count could be; a bool is none, nor is what no float can hold."""
    return type(value) in (int, float) and abs(value) <= sys.float_info.max  # type: ignore[arg-type] # is a number here
