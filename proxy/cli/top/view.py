"""What is known of what runs: the rows in their order, the numbers above them, and whether that is up to date."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Row = Mapping[str, Any]
"""A row of the feed, see `from_record` for what one has."""


@dataclass(frozen=True, slots=True)
class Known:
    """A row, and when it came, on the clock of the view: its age is as of then."""

    row: Row
    at: float

    def age(self, now: float) -> float | None:
        """Seconds since its start."""
        seconds = self.row.get("age_seconds")
        return None if seconds is None else max(0.0, seconds + now - self.at)


@dataclass(slots=True)
class View:
    """The rows by their ids, in their order, and what is told beside them."""

    clock: Callable[[], float] = time.monotonic
    rows: dict[str, Known] = field(default_factory=dict)
    total: int = 0
    matched: int = 0
    complete: bool = True
    summary: Mapping[str, Any] = field(default_factory=dict)
    is_polled: bool = False
    """Whether this proxy has no feed, and is asked again and again."""
    trouble: str = ""
    """Why nothing new comes, if so."""

    def take_page(self, page: Mapping[str, Any]) -> None:
        """Take all rows anew."""
        now = self.clock()
        self.rows = {row["id"]: Known(row, now) for row in page["rows"]}
        self._take_counts(page)

    def take_change(self, change: Mapping[str, Any]) -> None:
        """Take what has changed."""
        now = self.clock()
        for row in change.get("rows", ()):
            self.rows[row["id"]] = Known(row, now)
        for gone in change.get("gone", ()):
            self.rows.pop(gone["id"], None)
        order = [each for each in change.get("order", self.rows) if each in self.rows]
        self.rows = {each: self.rows[each] for each in order}
        self._take_counts(change)

    def _take_counts(self, told: Mapping[str, Any]) -> None:
        self.total, self.matched = told.get("total", self.total), told.get("matched", self.matched)
        self.complete = told.get("complete", True)
        self.trouble = ""


def from_record(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record of the list as a row of the feed."""
    row = {name: record.get(name) for name in _SAME}
    state = "unconfirmed" if record.get("unconfirmed") else record.get("phase")
    return {
        **row,
        "id": record["message_id"],
        "age_seconds": record.get("elapsed_seconds"),
        "state": state,
        "cancel_asked": record.get("cause") is not None,
    }


_SAME = (
    *("task_id", "upstream_id", "started_at", "phase", "dialect", "route", "upstream", "model", "key_id", "user"),
    *("tags", "completion_tokens", "usage_source", "characters", "cost", "currency", "replica", "first_token_at"),
)
