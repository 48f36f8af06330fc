"""The table of what runs, in as many columns as there is room for."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from proxy.cli.output import ABOUT, UNKNOWN, age, fitted, width_of
from proxy.cli.room import GAP, having_room, sum_of
from proxy.cli.top.view import Known, Row
from proxy.config_file.problems import printable

SHORT_ID: Final = 13
"""Columns of an id where the whole one has no room: its first characters are enough to type."""

Cell = Callable[[Known, float], str]


@dataclass(frozen=True, slots=True)
class Column:
    """A column. Where there is no room the one with the highest `rank` goes first."""

    head: str
    cell: Cell
    rank: int
    most: int
    is_number: bool = False


def _field(name: str) -> Cell:
    return lambda known, _now: _text(known.row.get(name))


def _text(value: object) -> str:
    return UNKNOWN if value is None or value == "" else printable(str(value))


def _age(known: Known, now: float) -> str:
    seconds = known.age(now)
    return UNKNOWN if seconds is None else age(seconds)


def state_of(row: Row) -> str:
    """Where it is."""
    return "stopping" if row.get("cancel_asked") else str(row.get("state") or UNKNOWN).replace("_", " ")


def _tokens(known: Known, _now: float) -> str:
    tokens, characters = known.row.get("completion_tokens"), known.row.get("characters")
    if tokens is not None:
        return f"{ABOUT if known.row.get('usage_source') == 'estimate' else ''}{tokens:,}"
    return f"{characters:,} ch" if characters else UNKNOWN


def _cost(known: Known, _now: float) -> str:
    cost = known.row.get("cost")
    return UNKNOWN if cost is None else printable(f"{cost} {known.row.get('currency') or ''}".rstrip())


def _rate(known: Known, _now: float) -> str:
    """Tokens a second since the first one, over all."""
    row, seconds = known.row, known.age(known.at)
    tokens, first = row.get("completion_tokens"), row.get("first_token_at")
    if seconds is None or not tokens or first is None:
        return UNKNOWN
    try:
        before = (datetime.fromisoformat(first) - datetime.fromisoformat(row["started_at"])).total_seconds()
    except (KeyError, TypeError, ValueError):
        return UNKNOWN
    return f"{tokens / (seconds - before):.0f}/s" if seconds - before >= 1 else UNKNOWN


COLUMNS: Final = (
    Column("ID", _field("task_id"), 0, 36),
    Column("AGE", _age, 1, 8, is_number=True),
    Column("STATE", lambda known, _now: state_of(known.row), 2, 12),
    Column("TOKENS", _tokens, 3, 12, is_number=True),
    Column("RATE", _rate, 7, 8, is_number=True),
    Column("COST", _cost, 8, 16, is_number=True),
    Column("MODEL", _field("model"), 4, 28),
    Column("USER", _field("user"), 5, 20),
    Column("KEY", _field("key_id"), 6, 16),
    Column("ROUTE", _field("route"), 9, 20),
    Column("UPSTREAM", _field("upstream"), 10, 20),
    Column("REPLICA", _field("replica"), 11, 24),
)


def laid_out(rows: Sequence[Known], now: float, width: int) -> list[str]:
    """The line of heads and a line for each row, none wider than `width` columns."""
    cells = {column.head: [column.cell(known, now) for known in rows] for column in COLUMNS}
    kept = [column for column in COLUMNS if column.head != "REPLICA" or len(set(cells["REPLICA"])) > 1]
    widths = {column.head: _wanted(column, cells[column.head]) for column in kept}
    whole_id = widths["ID"]
    widths["ID"] = min(whole_id, max(SHORT_ID, widths["ID"] - max(0, sum_of(widths) - width)))
    widths = having_room(widths, {column.head: column.rank for column in kept}, width)
    widths["ID"] = min(whole_id, widths["ID"] + max(0, width - sum_of(widths)))  # what is left of those that went
    shown = [column for column in kept if column.head in widths]
    heads = [fitted(column.head, widths[column.head], to_the_right=column.is_number) for column in shown]
    lines = [
        [fitted(cells[c.head][at], widths[c.head], to_the_right=c.is_number) for c in shown] for at in range(len(rows))
    ]
    return [fitted((" " * GAP).join(line).rstrip(), width).rstrip() for line in [heads, *lines]]


def _wanted(column: Column, cells: Sequence[str]) -> int:
    return max(width_of(column.head), min(column.most, max(map(width_of, cells), default=0)))
