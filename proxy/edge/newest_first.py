"""Lists of generations, newest first: what lives as it is now, what is over as the ledger has it.

Both are put together here, because a generation that was just admitted may not be in the ledger yet, and what the
ledger has of a live one is as old as its last flush.
"""

import heapq
import math
from dataclasses import replace
from operator import itemgetter

from proxy.core.errors import Refusal
from proxy.core.generation import Facts
from proxy.core.record import Record
from proxy.engine.engine import Engine
from proxy.engine.relay import Relay
from proxy.stores.ports import Page, RecordFilter

Place = tuple[float, str]
"""Where a generation stands in a list: its start (seconds since the epoch) and its uid."""

FIRST: Place = (math.inf, "")
LAST: Place = (-math.inf, "")


async def newest_first(engine: Engine, which: RecordFilter, live: list[Relay], limit: int, cursor: str | None) -> Page:
    """One page of the generations that a filter takes.

    Args:
        engine: whose generations these are.
        which: the filter for the ledger.
        live: the live ones that it takes.
        limit: how many a page has at most.
        cursor: where the page before ended; None: the first page.

    Raises:
        Refusal: 400, the cursor is none that was given out here.
        LedgerUnavailableError: the ledger can't be read.
    """
    before = _place_in(cursor)
    found, more = await _behind(engine, which, before, limit, live)
    newest = sorted(found.items(), key=itemgetter(0), reverse=True)
    now = engine.now()
    records = [one.generation.record(now) if isinstance(one, Relay) else one for _, one in newest[:limit]]
    return _page(records, more=more or len(newest) > limit)


def newest_live(engine: Engine, live: list[Relay], limit: int, cursor: str | None) -> Page:
    """One page of live generations, without the ledger.

    Raises:
        Refusal: 400, the cursor is none that was given out here.
    """
    before, now = _place_in(cursor), engine.now()
    behind = [relay for relay in live if _place_of(relay.generation.facts) < before]
    newest = heapq.nlargest(limit + 1, behind, key=lambda relay: _place_of(relay.generation.facts))
    return _page([relay.generation.record(now) for relay in newest[:limit]], more=len(newest) > limit)


def _page(records: list[Record], *, more: bool) -> Page:
    if not more:
        return Page(records, None)
    started, uid = _place(records[-1])
    return Page(records, f"{started!r}_{uid}")


async def _behind(
    engine: Engine, which: RecordFilter, before: Place, limit: int, live: list[Relay]
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
        found |= {place: relay for relay in live if (place := _place_of(relay.generation.facts)) >= down_to}
        found = {place: one for place, one in found.items() if place < before}
        if found or page.next_cursor is None:
            return found, page.next_cursor is not None
        at = page.next_cursor  # a page full of generations that started together with the last one shown


def _place(record: Record) -> Place:
    return record.started_at, record.uid


def _place_of(facts: Facts) -> Place:
    return facts.started_wall, facts.uid


def _place_in(cursor: str | None) -> Place:
    if cursor is None:
        return FIRST
    started, _, uid = cursor.partition("_")
    try:
        place = float(started), uid
    except ValueError:
        raise _foreign() from None
    if not (uid and math.isfinite(place[0])):
        raise _foreign()
    return place


def _foreign() -> Refusal:
    return Refusal.bad_request("invalid_cursor", "This cursor was not given out here.", "cursor")
