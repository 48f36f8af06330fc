"""What the table shall show: its filter as a person types it, and its order."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from proxy.cli.route_option import route_path
from proxy.cli.top.view import Known, Row
from proxy.core.settings.scalar_types import parse_duration

LIMIT: Final = 200
"""Rows at most, as many as the feed gives at once."""

NAMES: Final = {"user": "user", "key": "key", "route": "route", "model": "model", "tag": "tag", "older": "older_than"}
"""What may stand before a colon in the filter, and the parameter of the admin API that it is."""

_SEARCHED: Final = ("id", "task_id", "upstream_id", "model", "user", "key_id", "route", "upstream", "replica", "state")


class Order(NamedTuple):
    """One way to sort: as it is called, as the feed is asked for it, and by what, where there is no feed."""

    name: str
    query: Mapping[str, str]
    value: Callable[[Row], Any]
    is_descending: bool = False


def _by(field: str) -> Callable[[Row], Any]:
    return lambda row: row.get(field)


def _cost(row: Row) -> float | None:
    cost = row.get("cost")
    return None if cost is None else float(cost)


ORDERS: Final = (
    Order("newest first", {}, _by("age_seconds")),
    Order("oldest first", {"sort": "age", "order": "desc"}, _by("age_seconds"), is_descending=True),
    Order("by tokens", {"sort": "tokens", "order": "desc"}, _by("completion_tokens"), is_descending=True),
    Order("by cost", {"sort": "cost", "order": "desc"}, _cost, is_descending=True),
    Order("by state", {"sort": "state", "order": "asc"}, _by("state")),
    Order("by model", {"sort": "model", "order": "asc"}, _by("model")),
    Order("by user", {"sort": "user", "order": "asc"}, _by("user")),
    Order("by key", {"sort": "key", "order": "asc"}, _by("key_id")),
)


@dataclass(frozen=True, slots=True)
class Asked:
    """A filter and an order. `words` are looked for here, `query` is what the proxy is asked for."""

    text: str = ""
    order: Order = ORDERS[0]

    @property
    def query(self) -> dict[str, str]:
        """The filters as parameters."""
        return {NAMES[name]: route_path(value) if name == "route" else value for name, value in self._named()}

    @property
    def words(self) -> list[str]:
        """What every row must have somewhere."""
        return [word.casefold() for word in self.text.split() if not _is_named(word)]

    def _named(self) -> list[tuple[str, str]]:
        parts = [word.partition(":") for word in self.text.split() if _is_named(word)]
        return [(name, value) for name, _, value in parts]

    def wrong(self) -> str:
        """What is wrong with the filter; empty for nothing."""
        named = self._named()
        for name, value in named:
            if not value:
                return f"{name}: needs a value, such as {name}:{_EXAMPLES[name]}"
            if [each for each, _ in named].count(name) > 1:
                return f"{name}: is there twice"
            if name == "tag" and ":" not in value:
                return "tag: needs a name and a value, such as tag:team:search"
            try:
                _CHECKS.get(name, str)(value)
            except ValueError as error:
                return str(error)
        return ""

    def next_order(self) -> "Asked":
        """The same with the order after this one."""
        return Asked(self.text, ORDERS[(ORDERS.index(self.order) + 1) % len(ORDERS)])

    def fits(self, row: Row) -> bool:
        """Whether a row has all the words."""
        told = " ".join(str(row.get(name) or "") for name in _SEARCHED).casefold()
        return all(word in told for word in self.words)

    def sorted(self, rows: Iterable[Row]) -> list[Row]:
        """Rows in this order, what is unknown last."""
        value = self.order.value
        known = [row for row in rows if value(row) is not None]
        unknown = [row for row in rows if value(row) is None]
        return [*sorted(known, key=value, reverse=self.order.is_descending), *unknown]

    def chosen(self, rows: Mapping[str, Known]) -> list[Known]:
        """Of these the ones that fit."""
        return [known for known in rows.values() if self.fits(known.row)]


_CHECKS: Final[Mapping[str, Callable[[str], object]]] = {"route": route_path, "older": parse_duration}
"""What raises `ValueError` for a value that can't be asked for."""

_EXAMPLES: Final = {
    "user": "u-17",
    "key": "acme",
    "route": "/v1",
    "model": "gpt-4o",
    "tag": "team:search",
    "older": "10m",
}


def _is_named(word: str) -> bool:
    name, colon, _ = word.partition(":")
    return bool(colon) and name in NAMES
