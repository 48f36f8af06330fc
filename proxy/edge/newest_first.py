"""Lists of generations, newest first: what lives as it is now, what is over as the ledger has it.

Both are put together here, because a generation that was just admitted may not be in the ledger yet, and what the
ledger has of a live one is as old as its last flush.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from operator import itemgetter

from proxy.core.begun import is_unconfirmed
from proxy.core.chosen import Chosen
from proxy.core.errors import Refusal
from proxy.core.lifecycle import Outcome
from proxy.core.record import Record
from proxy.engine.engine import Engine
from proxy.engine.relaying.relay import Relay
from proxy.engine.replicas.many import Place, place_of
from proxy.stores.ledger.port import LedgerUnavailableError, RecordFilter

FIRST: Place = (math.inf, "")
LAST: Place = (-math.inf, "")


@dataclass(frozen=True, slots=True)
class Listing:
    """One page. `unreachable`: replicas that did not say what they run; `complete`: nothing that lives is missing."""

    records: list[Record]
    next_cursor: str | None
    unreachable: list[str] = field(default_factory=list)
    complete: bool = True
    states: Mapping[str, str] = field(default_factory=dict)
    """By uid: what other replicas say that each of theirs does."""

    def told(self, data: list[dict[str, object]]) -> dict[str, object]:
        """As it is answered, with the records as they are shown."""
        missing = {"complete": self.complete, "unreachable": self.unreachable}
        return {"object": "list", "data": data, "next_cursor": self.next_cursor, **missing}


async def newest_first(
    engine: Engine, which: RecordFilter, chosen: Chosen | None, limit: int, cursor: str | None, text: int
) -> Listing:
    """One page of generations: what lives, on all replicas, and what this one's ledger has.

    Args:
        engine: whose generations these are.
        which: the filter for the ledger.
        chosen: the same for what lives; None: nothing that lives is meant.
        limit: how many a page has at most.
        cursor: where the page before ended; None: the first page.
        text: characters of their texts that other replicas send along.

    Raises:
        Refusal: 400, the cursor is none that was given out here.
        LedgerUnavailableError: the ledger can't be read.
    """
    before, now = _place_in(cursor), engine.now()
    live: dict[Place, Relay | Record] = {}
    unreachable: list[str] = []
    complete = True
    if chosen is not None:
        there = await engine.many.living_elsewhere(chosen, before, limit + 1, text)
        unreachable, complete = there.unreachable, there.complete
        live |= {_place(record): record for record in there.records}
        live |= {place_of(relay): relay for relay in engine.many.chosen_here(chosen, now)}
    found, more = await _behind(engine, which, before, limit, live)
    newest = sorted(found.items(), key=itemgetter(0), reverse=True)
    records = [one.generation.record(now) if isinstance(one, Relay) else one for _, one in newest[:limit]]
    cursor = _cursor(records[-1]) if more or len(newest) > limit else None
    return Listing(records, cursor, unreachable, complete)


async def newest_live(engine: Engine, chosen: Chosen, limit: int, cursor: str | None) -> Listing:
    """One page of what lives, on all replicas, without the ledger.

    Raises:
        Refusal: 400, the cursor is none that was given out here.
    """
    before, now = _place_in(cursor), engine.now()
    there = await engine.many.living_elsewhere(chosen, before, limit + 1, 0)
    here = engine.many.newest_here(chosen, before, limit + 1, 0, now)
    found = {_place(record): record for record in (*there.records, *here)}
    newest = [record for _, record in sorted(found.items(), key=itemgetter(0), reverse=True)][: limit + 1]
    records = (await _not_over(engine, newest))[:limit]
    cursor = _cursor((records or newest)[-1]) if len(newest) > limit else None
    return Listing(records, cursor, there.unreachable, there.complete, there.states)


async def _not_over(engine: Engine, records: list[Record]) -> list[Record]:
    """These without what the ledger knows to be over, though others may think that it runs."""
    kept: list[Record] = []
    for at, record in enumerate(records):
        if is_unconfirmed(record):
            try:
                found = await engine.ledger.find(record.identity, record.message_id)
            except LedgerUnavailableError:
                return kept + records[at:]
            if found is not None and found.uid == record.uid and found.outcome is not Outcome.RUNNING:
                continue
        kept.append(record)
    return kept


def _cursor(last: Record) -> str:
    started, uid = _place(last)
    return f"{started!r}_{uid}"


async def _behind(
    engine: Engine, which: RecordFilter, before: Place, limit: int, live: dict[Place, Relay | Record]
) -> tuple[dict[Place, Relay | Record], bool]:
    """What stands behind a place, `limit` and more where there is so much, and whether the ledger has still more."""
    if before != FIRST:
        started = math.nextafter(before[0], math.inf)
        which = replace(which, started_before=min(started, which.started_before or math.inf))
    at: str | None = None
    while True:
        page = await engine.ledger.page(which, limit, at)
        down_to = LAST if page.next_cursor is None else _place(page.records[-1])
        found: dict[Place, Relay | Record] = {_place(record): record for record in page.records}
        over = {_place(record) for record in page.records if record.outcome is not Outcome.RUNNING}
        found |= {
            place: one
            for place, one in live.items()
            if place >= down_to and not (place in over and isinstance(one, Record) and is_unconfirmed(one))
        }
        found = {place: one for place, one in found.items() if place < before}
        if found or page.next_cursor is None:
            return found, page.next_cursor is not None
        at = page.next_cursor  # a page full of generations that started together with the last one shown


def _place(record: Record) -> Place:
    return record.started_at, record.uid


def _place_in(cursor: str | None) -> Place:
    if cursor is None:
        return FIRST
    started, _, uid = cursor.partition("_")
    try:
        place = float(started), uid
    except ValueError:
        raise foreign_cursor() from None
    if not (uid and math.isfinite(place[0])):
        raise foreign_cursor()
    return place


def foreign_cursor() -> Refusal:
    """400: nobody gave this cursor out, or for another list."""
    return Refusal.bad_request("invalid_cursor", "This cursor was not given out here.", "cursor")
