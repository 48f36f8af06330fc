"""Lists of what lives, in any order: records with the numbers so far, and what each does now."""

import time
from collections.abc import Collection, Iterable
from itertools import chain
from typing import Any

from proxy.core.chosen import Chosen
from proxy.core.errors import Refusal
from proxy.core.live_row import STATES, Entry, Live, Order, about_now, behind, cursor_of, entry_of, live_of
from proxy.core.live_row import place_in as place_of_cursor
from proxy.core.receipt import shown
from proxy.core.record import Record
from proxy.edge.newest_first import Listing, foreign_cursor, newest_live
from proxy.engine.engine import Engine
from proxy.engine.relaying.relay import Relay
from proxy.engine.replicas.live_elsewhere import MOST, TableThere, ask_tables


async def live_list(engine: Engine, chosen: Chosen, order: Order, limit: int, cursor: str | None) -> dict[str, Any]:
    """One page of what lives on all replicas, as it is answered.

    Args:
        engine: whose generations these are.
        chosen: which of them.
        order: that of the list.
        limit: how many a page has at most.
        cursor: where the page before ended; None: the first page.

    Raises:
        Refusal: 400, the cursor is none that was given out for this order.
    """
    if order.is_newest_first:
        listing = await newest_live(engine, chosen, limit, cursor)
        rows = [_as_it_is(engine, record, listing.states.get(record.uid)) for record in listing.records]
    else:
        listing, rows = await _ordered(engine, chosen, order, limit, cursor)
    wall = time.time()
    return listing.told([{**shown(live.record, text=False), **about_now(live, wall)} for live in rows])


async def _ordered(
    engine: Engine, chosen: Chosen, order: Order, limit: int, cursor: str | None
) -> tuple[Listing, list[Live]]:
    """One page in another order than the usual one.

    What has moved between two pages may be missed, or come twice.
    """
    try:
        place = None if cursor is None else place_of_cursor(cursor, order)
    except ValueError:
        raise foreign_cursor() from None
    tables = await ask_tables(engine.many.group, chosen, order, limit + 1 if place is None else MOST)
    there = [entry_of(row, order.sort) for table in tables.by_replica.values() for row in table.rows]
    entries: Iterable[Entry[Relay | Live]] = chain(engine.live.entries(chosen, order.sort), there)
    found = behind(entries, order, place)
    page = found[:limit]
    rows = [thing if isinstance(thing, Live) else engine.live.live(thing) for *_, thing in page]
    more = cursor_of(page[-1], order) if len(found) > limit else None
    rest = {uid for _, _, uid, _ in found[limit:]}
    has_all = all(_has_before(rest, table) for table in tables.by_replica.values())
    listing = Listing([live.record for live in rows], more, tables.unreachable, tables.complete and has_all)
    return listing, rows


def _has_before(rest: Collection[str], table: TableThere) -> bool:
    """Whether a replica sent all of its rows that stand before `rest`: all that it has, or its last is among these."""
    return len(table.rows) >= table.matched or (bool(table.rows) and table.rows[-1].record.uid in rest)


def _as_it_is(engine: Engine, record: Record, state: str | None) -> Live:
    """A record of a list as it is now; of another replica's, whose state it may have told, as that said."""
    relay = engine.registry.find_uid(record.uid)
    if isinstance(relay, Relay):
        return engine.live.live(relay)
    return Live(record, state) if state in STATES else live_of(record)


def check_order(given: dict[str, str], state: str | None) -> None:
    """Refuse an order for anything but what lives: the ledger's records stand newest first.

    Raises:
        Refusal: 400.
    """
    named = next((name for name in ("sort", "order") if name in given), None)
    if named is not None and state != "live":
        raise Refusal.bad_request("invalid_parameter", f"{named} is for state=live; the rest is newest first.", named)
