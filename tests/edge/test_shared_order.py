"""The order that all views of a round share: made once, as long as nothing begins or ends."""

from types import SimpleNamespace
from typing import Any

from proxy.core.chosen import Chosen
from proxy.core.live_row import LiveSort, Order
from proxy.edge.admin.shared_order import SharedOrder

BY_TOKENS = Order("tokens", falls=True)


class Counting:
    """A live table that knows how often it was asked for all that lives."""

    def __init__(self) -> None:
        self.changes = 0
        self.asked: list[LiveSort] = []
        self.tokens = {"a": 1, "b": 3, "c": 2}

    def entries(self, _chosen: Chosen, sort: LiveSort) -> list[Any]:
        """All of them, with their tokens."""
        self.asked.append(sort)
        return [(tokens, 0.0, uid, SimpleNamespace()) for uid, tokens in self.tokens.items()]


def uids(orders: SharedOrder, order: Order = BY_TOKENS, user: str = "") -> str:
    """The uids in their order."""
    filters = (("user", user),) if user else ()
    return "".join(uid for _, _, uid, _ in orders.of(Chosen(user=user or None), filters, order))


def test_who_wants_the_same_shares_one_order() -> None:
    """Ten views of one order are one sort; another order or filter is one more."""
    live: Any = Counting()
    orders = SharedOrder(live)
    assert {uids(orders) for _ in range(10)} == {"bca"}
    assert live.asked == ["tokens"]
    uids(orders, user="ann")
    uids(orders, Order("user"))
    uids(orders, Order("tokens"))
    assert live.asked == ["tokens", "tokens", "user", "tokens"]


def test_what_begins_or_ends_is_seen_at_once() -> None:
    """In the middle of a round too, an order holds only as long as the same generations live."""
    live: Any = Counting()
    orders = SharedOrder(live)
    uids(orders)
    del live.tokens["b"]
    live.changes += 1
    assert uids(orders) == "ca"


def test_each_round_looks_anew() -> None:
    """What has grown moves in the next round."""
    live: Any = Counting()
    orders = SharedOrder(live)
    uids(orders)
    live.tokens["a"] = 9
    assert uids(orders) == "bca"
    orders.forget()
    assert uids(orders) == "abc"
