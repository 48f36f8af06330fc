"""Lists: the query's cursors, the envelope, and one way through any kept list, filtered or not."""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol, TypeVar
from urllib.parse import parse_qsl

from proxy.dialects.assistants.errors import invalid
from proxy.engine.plain import PlainReply
from proxy.stores.conversations.port import Window

DEFAULT: Final = 20
MOST: Final = 100
SCANNED: Final = 500
"""Objects read at once where a filter leaves most of them out."""
MAX_CURSOR: Final = 256

Order = Literal["newest", "oldest"]
_ORDERS: Final[Mapping[str, Order]] = {"asc": "oldest", "desc": "newest"}


class Kept(Protocol):
    """What is listed."""

    @property
    def id(self) -> str:
        """Its id, which is also its cursor."""
        ...


T = TypeVar("T", bound=Kept)
Reader = Callable[[Window], Awaitable[tuple[list[T], bool]]]


@dataclass(frozen=True, slots=True)
class Page:
    """Which part of a list is asked for: behind the object `after`, before the object `before`."""

    limit: int
    order: Order
    after: str | None
    before: str | None


def read_query(query: str) -> dict[str, str]:
    """A query's values; of two the last one stands."""
    return dict(parse_qsl(query, keep_blank_values=False))


def read_page(query: str) -> Page:
    """The part that a query asks for.

    Raises:
        Refusal: 400, with the parameter that is wrong.
    """
    found = read_query(query)
    limit = found.get("limit", str(DEFAULT))
    if not limit.isascii() or not limit.isdigit() or not 1 <= int(limit[:4]) <= MOST or len(limit) > len(str(MOST)):
        raise invalid("limit", f"a whole number from 1 to {MOST}")
    order = found.get("order", "desc")
    if order not in _ORDERS:
        raise invalid("order", "one of: asc, desc")
    for name in ("after", "before"):
        if len(found.get(name, "")) > MAX_CURSOR:
            raise _no_cursor(name)
    return Page(int(limit), _ORDERS[order], found.get("after"), found.get("before"))


def _no_cursor(name: str) -> Exception:
    return invalid(name, "the id of an object of this list")


async def part(
    page: Page, read: Reader[T], keep: Callable[[T], bool] | None = None, size: int | None = None
) -> tuple[list[T], bool]:
    """A part of a kept list, of those that `keep` wants, and whether there are more behind it.

    `size`: how many are read at once, where `keep` leaves nearly all of them in.

    With `before` alone the last ones are meant, which are next to it: they are read from there, backwards.

    Raises:
        Refusal: 400, a cursor names nothing in the list.
    """
    backwards = page.before is not None and page.after is None
    order: Order = page.order
    if backwards:
        order = "newest" if page.order == "oldest" else "oldest"
    after, before = (page.before, None) if backwards else (page.after, page.before)
    size = size or (page.limit + 1 if keep is None else SCANNED)
    found: list[T] = []
    more = True
    while more and len(found) <= page.limit:
        try:
            read_now, more = await read(Window(size, order, after, before))
        except KeyError:
            raise _no_cursor("after" if page.after is not None else "before") from None
        found += read_now if keep is None else [each for each in read_now if keep(each)]
        after = read_now[-1].id if read_now else after
        more = more and bool(read_now)
    is_cut = len(found) > page.limit
    found = found[: page.limit]
    return (found[::-1] if backwards else found), is_cut


def part_of(page: Page, oldest_first: Sequence[dict[str, Any]]) -> tuple[list[dict[str, Any]], bool]:
    """The same of a list that is at hand as a whole.

    Raises:
        Refusal: 400, a cursor names nothing in the list.
    """
    ordered = list(oldest_first) if page.order == "oldest" else list(oldest_first)[::-1]
    places = {each["id"]: place for place, each in enumerate(ordered)}
    for name, cursor in (("after", page.after), ("before", page.before)):
        if cursor is not None and cursor not in places:
            raise _no_cursor(name)
    start = 0 if page.after is None else places[page.after] + 1
    stop = len(ordered) if page.before is None else places[page.before]
    between = ordered[start:stop]
    shown = between[-page.limit :] if page.before is not None and page.after is None else between[: page.limit]
    return shown, len(shown) < len(between)


def reply(found: Mapping[str, Any]) -> PlainReply:
    """An object as an answer."""
    return PlainReply(200, json.dumps(found).encode())


def listed(data: Sequence[Mapping[str, Any]], *, more: bool) -> PlainReply:
    """A list as an answer."""
    ends = {"first_id": data[0]["id"], "last_id": data[-1]["id"]} if data else {"first_id": None, "last_id": None}
    return reply({"object": "list", "data": list(data), **ends, "has_more": more})


def deleted(any_id: str, kind: str) -> PlainReply:
    """The answer to a deletion."""
    return reply({"id": any_id, "object": f"{kind}.deleted", "deleted": True})
