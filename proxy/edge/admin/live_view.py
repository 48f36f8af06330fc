"""What the readers of one feed see: a window on the live table, and what has changed in it since they were last told.

Rows are made for what is shown, no more. All who ask for the same share one view.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from aiohttp import web

from proxy.core.chosen import Chosen
from proxy.core.live_row import (
    FALL_BY_THEMSELVES,
    MOVING,
    SORTS,
    Entry,
    Live,
    LiveSort,
    Order,
    entry_of,
    gone,
    in_order,
    row,
)
from proxy.core.receipt import iso
from proxy.edge.admin.query import FILTERS, Selection, one_of, parameters
from proxy.edge.admin.shared_order import Filters, SharedOrder
from proxy.edge.asked import whole_number
from proxy.engine.engine import Engine
from proxy.engine.relaying.relay import Relay
from proxy.engine.replicas.live_elsewhere import Tables, TableThere, ask_tables

ROWS: Final = 50
MOST_ROWS: Final = 200
LAST_OFFSET: Final = 10_000
ORDERS: Final = ("asc", "desc")

OWN_CLOCK: Final = "age_seconds"
"""The one thing in a row that changes by itself: whoever shows it counts it on, so it is no news."""


def order_of(given: dict[str, str]) -> Order:
    """The parameters `sort` and `order`.

    Raises:
        Refusal: 400, one of them is another word.
    """
    sort = cast("LiveSort", one_of("sort", given.get("sort", "age"), SORTS))
    usual = "desc" if sort in FALL_BY_THEMSELVES else "asc"
    return Order(sort, one_of("order", given.get("order", usual), ORDERS) == "desc")


@dataclass(frozen=True, slots=True)
class Window:
    """What a feed shows: which generations, in which order, and how many of them from where on."""

    chosen: Chosen
    order: Order
    limit: int
    offset: int
    key: tuple[tuple[str, str], ...]
    """The parameters as they were given: who gives the same sees the same."""
    filters: Filters
    """Those of them that choose."""

    @classmethod
    def read(cls, http: web.BaseRequest) -> "Window":
        """The window that a request asks for.

        Raises:
            Refusal: 400, a parameter can't be understood.
        """
        given = parameters(http, (*FILTERS, "sort", "order", "limit", "offset"))
        return cls(
            Selection.read(given).chosen,
            order_of(given),
            whole_number("limit", given.get("limit", str(ROWS)), 1, MOST_ROWS),
            whole_number("offset", given.get("offset", "0"), 0, LAST_OFFSET),
            tuple(sorted(given.items())),
            tuple((name, given[name]) for name in FILTERS if name in given),
        )

    @property
    def end(self) -> int:
        """How many rows stand before its end."""
        return self.offset + self.limit


Thing = Relay | Live
"""What a row is made of: what runs here, or what another replica says of it."""


@dataclass(slots=True)
class _Row:
    """A row as its readers know it, but for its age. `mark`: see `LiveHere.mark`."""

    thing: Thing
    mark: tuple[Any, ...]
    told: dict[str, Any]
    started: float


class LiveView:
    """A window on the live table, and what its readers were told of it."""

    def __init__(self, engine: Engine, window: Window, orders: SharedOrder) -> None:
        """Ready; `look` makes its first rows. `orders` are shared by all views."""
        self._engine = engine
        self._live = engine.live
        self._orders = orders
        self.window = window
        self._rows: dict[str, _Row] = {}
        """By uid, in their order."""
        self._about: dict[str, Any] = {"total": 0, "matched": 0, "complete": True}
        self._seen = -1
        self._there: dict[str, TableThere] = {}
        self._is_complete = True
        self._moves = window.order.sort in MOVING or window.chosen.older_than is not None

    async def ask(self) -> None:
        """Ask the other replicas for their part; who does not answer keeps the rows that it had."""
        shown = [uid for uid, shown in self._rows.items() if isinstance(shown.thing, Live)]
        window, group = self.window, self._engine.many.group
        tables = await ask_tables(group, window.chosen, window.order, window.end, over=shown)
        self._take(tables)

    def _take(self, tables: Tables) -> None:
        silent = {name: table for name, table in self._there.items() if name in tables.unreachable}
        self._there = {**silent, **tables.by_replica}
        most = self.window.end
        self._is_complete = tables.complete and all(table.has_first(most) for table in tables.by_replica.values())
        self._seen = -1

    def page(self, wall: float) -> dict[str, Any]:
        """Everything that its readers know, for one who knows nothing; `wall` is now, in seconds since the epoch."""
        rows = [self._aged(each, wall) for each in self._rows.values()]
        return {"at": iso(wall), **self._about, "rows": rows}

    def look(self, wall: float, *, numbers: bool) -> dict[str, Any] | None:
        """What has changed since the last look; None: nothing. Numbers of rows are looked at with `numbers` only."""
        before = self._rows
        if self._is_to_be_placed(numbers=numbers):
            things, about = self._placed()
        else:
            things, about = {uid: each.thing for uid, each in before.items()}, self._about
        self._rows = {}
        fresh: list[dict[str, Any]] = []
        for uid, thing in things.items():
            known = before.get(uid)
            found = self._row(thing, known, numbers=numbers)
            self._rows[uid] = found
            if known is None or known.told != found.told:
                fresh.append(self._aged(found, wall))
        left = [record for uid, each in before.items() if uid not in self._rows for record in self._over(uid, each)]
        changed: dict[str, Any] = {}
        if list(before) != list(self._rows):
            changed["order"] = [each.told["id"] for each in self._rows.values()]
        if not (changed or fresh or left) and about == self._about:
            return None
        self._about = about
        return {"at": iso(wall), **about, **changed, "rows": fresh, "gone": left}

    def _is_to_be_placed(self, *, numbers: bool) -> bool:
        """Whether other rows may be shown now, or in another order.

        Where the order is by numbers it is made anew as often as these are looked at, or when a row is over.
        """
        if not self._moves:
            return self._seen != self._live.changes
        return numbers or any(
            isinstance(each.thing, Relay) and each.thing.finished is not None for each in self._rows.values()
        )

    def _placed(self) -> tuple[dict[str, Thing], dict[str, Any]]:
        """What is shown now, by uid and in its order; and how much there is in all."""
        window, live = self.window, self._live
        self._seen = live.changes
        here = self._orders.of(window.chosen, window.filters, window.order)
        tables = self._there.values()
        there = [entry_of(each, window.order.sort) for table in tables for each in table.rows]
        first: Sequence[Entry[Thing]] = here[: window.end]
        if there:
            first = in_order([*first, *there], window.order)
        shown = first[window.offset : window.end]
        about = {
            "total": len(self._engine.registry) + sum(table.counts.live for table in tables),
            "matched": len(here) + sum(table.matched for table in tables),
            "complete": self._is_complete,
        }
        return {uid: thing for _, _, uid, thing in shown}, about

    def _row(self, thing: Thing, known: _Row | None, *, numbers: bool) -> _Row:
        """The row of a thing; that which is known, as long as nothing of it can be news."""
        if isinstance(thing, Live):
            if known is not None and known.thing is thing:
                return known
            live, mark = thing, ()
        else:
            mark = self._live.mark(thing)
            if known is not None and known.mark == mark:
                return self._grown(thing, known) if numbers else known
            live = self._live.live(thing)
        told = row(live, 0.0)
        del told[OWN_CLOCK]
        return _Row(thing, mark, told, live.record.started_at)

    def _grown(self, relay: Relay, known: _Row) -> _Row:
        """A row of which nothing but numbers can have changed. Those of one that is written are in its record."""
        if relay.settled.done():
            return known
        told = {**known.told, **self._live.numbers(relay)}
        return known if told == known.told else _Row(relay, known.mark, told, known.started)

    def _over(self, uid: str, row_before: _Row) -> list[dict[str, Any]]:
        """What became of a row that is shown no more, if its generation is over."""
        thing = row_before.thing
        if isinstance(thing, Relay):
            return [] if thing.finished is None else [gone(thing.finished.record)]
        return [gone(record) for table in self._there.values() for record in table.over if record.uid == uid]

    @staticmethod
    def _aged(shown: _Row, wall: float) -> dict[str, Any]:
        return {**shown.told, OWN_CLOCK: round(max(wall - shown.started, 0.0), 3)}
