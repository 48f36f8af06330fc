"""The order of what lives here, made once for all views that are looked at in one round and want the same."""

from typing import Final

from proxy.core.chosen import Chosen
from proxy.core.live_row import Entry, Order, in_order
from proxy.engine.live import LiveHere
from proxy.engine.relaying.relay import Relay

Filters = tuple[tuple[str, str], ...]
"""The filters as they were given, by name."""


class SharedOrder:
    """Keeps nothing from one round to the next: what has ended must not stay in memory because somebody looked."""

    def __init__(self, live: LiveHere) -> None:
        self._live: Final = live
        self._made: dict[tuple[Filters, Order], tuple[int, list[Entry[Relay]]]] = {}

    def forget(self) -> None:
        """Another round begins, or nobody looks any more."""
        self._made.clear()

    def of(self, chosen: Chosen, filters: Filters, order: Order) -> list[Entry[Relay]]:
        """All that is chosen, in this order; `filters` are those that `chosen` was read from."""
        seen, made = self._live.changes, self._made.get((filters, order))
        if made is not None and made[0] == seen:
            return made[1]
        entries = in_order(self._live.entries(chosen, order.sort), order)
        self._made[filters, order] = seen, entries
        return entries
