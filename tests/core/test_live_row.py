"""The rows of the live table: what they say, their order, and the cursors of its pages."""

from decimal import Decimal
from typing import Any

import pytest

from proxy.core.lifecycle import Cause, Outcome, Phase
from proxy.core.live_row import (
    SORTS,
    Entry,
    Live,
    LiveCounts,
    LiveSort,
    Order,
    behind,
    cursor_of,
    entry_of,
    gone,
    in_order,
    live_of,
    place_in,
    row,
    state_of,
)
from proxy.core.record import UsageSource
from support.records import a_record


def live(uid: str, started_at: float = 1000.0, **facts: Any) -> Live:
    """A live generation."""
    return live_of(a_record(uid, started_at=started_at, elapsed_seconds=1.0, **facts))


def ordered(rows: list[Live], order: Order) -> list[str]:
    """The uids in their order."""
    return [uid for _, _, uid, _ in in_order([entry_of(each, order.sort) for each in rows], order)]


def test_a_row_says_what_is_known() -> None:
    """A row has every field of the table; costs and times are text, its age is counted from its start."""
    record = a_record(
        phase=Phase.STREAMING,
        elapsed_seconds=2.0,
        first_token_at=1001.0,
        completion_tokens=12,
        usage_source=UsageSource.UPSTREAM_RUNNING,
        cost=Decimal("0.10"),
        currency="USD",
        cause=Cause.OPERATOR,
        tags={"team": "a"},
    )
    assert row(Live(record, "reading_on"), 1002.5) == {
        "id": "message-u1",
        "age_seconds": 2.5,
        "state": "reading_on",
        "cancel_asked": True,
        "task_id": "task-u1",
        "upstream_id": None,
        "started_at": "1970-01-01T00:16:40.000Z",
        "phase": "streaming",
        "dialect": "openai",
        "route": "/v1",
        "upstream": "openai",
        "model": None,
        "key_id": "acme",
        "user": None,
        "tags": {"team": "a"},
        "completion_tokens": 12,
        "usage_source": "upstream_running",
        "characters": None,
        "cost": "0.1",
        "currency": "USD",
        "replica": "one",
        "first_token_at": "1970-01-01T00:16:41.000Z",
    }


def test_a_clock_that_was_set_back_makes_no_negative_age() -> None:
    """Nothing is younger than nothing."""
    assert row(live("u1"), 900.0)["age_seconds"] == 0.0


def test_what_is_gone_says_how_it_ended() -> None:
    """A row that leaves tells its outcome, its cause, and when the upstream was closed."""
    record = a_record(outcome=Outcome.CANCELLED, cause=Cause.CLIENT, upstream_closed_ms=1.5, elapsed_seconds=3.0)
    assert gone(record) == {
        "id": "message-u1",
        "task_id": "task-u1",
        "outcome": "cancelled",
        "cause": "client",
        "elapsed_seconds": 3.0,
        "completion_tokens": None,
        "usage_source": "none",
        "upstream_closed_ms": 1.5,
    }


@pytest.mark.parametrize(
    ("phase", "known", "state"),
    [
        (Phase.QUEUED, {}, "queued"),
        (Phase.CONNECTING, {}, "connecting"),
        (Phase.WAITING, {}, "waiting"),
        (Phase.STREAMING, {"has_begun": True}, "streaming"),
        (Phase.FINISHED, {"reads_on": True}, "reading_on"),
        (Phase.FINISHED, {"has_begun": True}, "streaming"),
        (Phase.FINISHED, {}, "waiting"),
        (None, {}, "waiting"),
    ],
)
def test_the_state_is_where_it_is(phase: Phase | None, known: dict[str, bool], state: str) -> None:
    """What has ended and is not written yet shows what it did last."""
    assert state_of(phase, **known) == state


def test_the_newest_come_first() -> None:
    """Without any wish the youngest stands first, and of two that began together the later uid."""
    rows = [live("a", 1.0), live("c", 2.0), live("b", 2.0)]
    assert ordered(rows, Order()) == ["c", "b", "a"]
    assert ordered(rows, Order("age", falls=True)) == ["a", "c", "b"]


@pytest.mark.parametrize("falls", [False, True])
def test_what_is_unknown_comes_last(falls: bool) -> None:
    """Rows without the number or word stand behind all others, whichever way these go; among them the newest first."""
    counted = [live("few", 3.0, completion_tokens=1), live("many", completion_tokens=9)]
    rows = [live("old", 1.0), live("new", 2.0), *counted]
    known = ["many", "few"] if falls else ["few", "many"]
    assert ordered(rows, Order("tokens", falls)) == [*known, "new", "old"]


@pytest.mark.parametrize(
    ("sort", "facts"),
    [
        ("route", ({"route": "/a"}, {"route": "/b"})),
        ("upstream", ({"upstream": "a"}, {"upstream": "b"})),
        ("model", ({"model": "a"}, {"model": "b"})),
        ("key", ({"key_id": "a"}, {"key_id": "b"})),
        ("user", ({"user": "a"}, {"user": "b"})),
        ("replica", ({"replica": "a"}, {"replica": "b"})),
        ("cost", ({"cost": Decimal("0.9")}, {"cost": Decimal("1.1")})),
        ("state", ({"phase": Phase.CONNECTING}, {"phase": Phase.STREAMING})),
    ],
)
def test_each_word_sorts(sort: LiveSort, facts: tuple[dict[str, Any], dict[str, Any]]) -> None:
    """Whatever the table can be sorted by sorts both ways."""
    rows = [live("high", **facts[1]), live("low", **facts[0])]
    assert ordered(rows, Order(sort)) == ["low", "high"]
    assert ordered(rows, Order(sort, falls=True)) == ["high", "low"]


@pytest.mark.parametrize("sort", SORTS)
@pytest.mark.parametrize("falls", [False, True])
def test_pages_follow_each_other(sort: LiveSort, falls: bool) -> None:
    """Page by page, by the cursor of each last row, every row comes exactly once, in the order of the whole."""
    facts: list[dict[str, Any]] = [{}, {"user": "b", "model": "m", "completion_tokens": 3, "cost": Decimal(2)}]
    rows = [live(f"u{n}", float(n // 2), **facts[n % 2], route=f"/{n % 3}") for n in range(9)]
    order = Order(sort, falls)
    entries = [entry_of(each, sort) for each in rows]
    seen: list[str] = []
    place: Entry[None] | None = None
    for _ in range(5):
        page = behind(entries, order, place)[:2]
        seen += [uid for _, _, uid, _ in page]
        place = place_in(cursor_of(page[-1], order), order)
    assert seen == ordered(rows, order)
    assert behind(entries, order, place) == []


def test_a_page_goes_on_behind_what_has_left() -> None:
    """A cursor means a place: it holds although the row that stood there is over."""
    order = Order("user")
    entries = [entry_of(live(name, user=name), "user") for name in "abc"]
    place = place_in(cursor_of(entries[1], order), order)
    assert [uid for _, _, uid, _ in behind(entries[:1] + entries[2:], order, place)] == ["c"]


@pytest.mark.parametrize(
    "cursor", ["", "x", "!!!!", "bnVsbA", "WzEsMiwzXQ", cursor_of((1.0, 1.0, "u", None), Order("tokens", falls=True))]
)
def test_a_foreign_cursor_is_refused(cursor: str) -> None:
    """Only a cursor of the same order is taken."""
    with pytest.raises(ValueError, match="cursor"):
        place_in(cursor, Order("user"))


@pytest.mark.parametrize("key", ["text", True, 10**400, float("inf"), [1]])
def test_a_cursor_with_a_foreign_key_is_refused(key: Any) -> None:
    """A key that can't be compared with those of the rows is no key."""
    order = Order("tokens")
    with pytest.raises(ValueError, match="cursor"):
        place_in(cursor_of((key, 1.0, "u", None), order), order)


def test_counts_add_up() -> None:
    """The counts of several replicas are one."""
    assert LiveCounts(3, 1, 1, 0) + LiveCounts(1, 0, 0, 1) == LiveCounts(4, 1, 1, 1)
