"""The part of a list that a window shows, for the stores in memory."""

from collections.abc import Sequence
from typing import Protocol, TypeVar

from proxy.stores.conversations.port import Window
from proxy.stores.ledger.rows import clean


class _Named(Protocol):
    @property
    def id(self) -> str: ...


_Object = TypeVar("_Object", bound=_Named)


def part(oldest_first: Sequence[_Object], window: Window) -> tuple[list[_Object], bool]:
    """That part, and whether the limit left some out.

    Raises:
        KeyError: `window.after` or `window.before` is none of them.
    """
    order = list(oldest_first if window.order == "oldest" else oldest_first[::-1])
    places = {each.id: place for place, each in enumerate(order)}
    start = 0 if window.after is None else places[clean(window.after)] + 1
    stop = len(order) if window.before is None else places[clean(window.before)]
    between = order[start:stop]
    limit = max(window.limit, 0)
    if window.before is not None and window.after is None:
        return between[max(len(between) - limit, 0) :], len(between) > limit
    return between[:limit], len(between) > limit
