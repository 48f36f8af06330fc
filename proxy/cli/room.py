"""Tables on a terminal that is too narrow for them: which cells are shortened, which columns left out.

Elsewhere, where a program may read them, a table is always whole.
"""

import shutil
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from proxy.cli.output import cell_text, fitted, show_table, width_of

GAP: Final = 2
"""Columns of the terminal between two of a table."""


def _whole(text: str) -> str:
    return text


@dataclass(frozen=True, slots=True)
class Rank:
    """What gives way where there is no room: the column with the highest `rank` goes first, one with 0 never.

    Before any column goes, what stands in it becomes `short`.
    """

    rank: int
    short: Callable[[str], str] = _whole


def up_to(width: int) -> Callable[[str], str]:
    """Makes a cell no wider than this."""
    return lambda text: text if width_of(text) <= width else fitted(text, width)


def show_in_room(heads: Sequence[str], rows: Iterable[Sequence[Any]], ranks: Mapping[str, Rank]) -> list[str]:
    """Print a table as `show_table` does, no wider than the terminal if it goes to one.

    Gives the heads that were left out.
    """
    given, columns = list(rows), _columns()
    if columns is None or sum_of(_widths(heads, given)) <= columns:
        show_table(heads, given)
        return []
    short = [[_shortened(value, ranks[head]) for head, value in zip(heads, row, strict=True)] for row in given]
    kept = having_room(_widths(heads, short), {head: each.rank for head, each in ranks.items()}, columns)
    at = [number for number, head in enumerate(heads) if head in kept]
    show_table([heads[number] for number in at], [[row[number] for number in at] for row in short])
    return [head for head in heads if head not in kept]


def having_room(widths: Mapping[str, int], ranks: Mapping[str, int], columns: int) -> dict[str, int]:
    """Of these widths, by head, the ones for which there is room; the highest rank goes first, 0 never."""
    kept = dict(widths)
    for head in sorted(widths, key=lambda each: -ranks[each]):
        if sum_of(kept) <= columns or ranks[head] == 0:
            break
        del kept[head]
    return kept


def _columns() -> int | None:
    """How wide the terminal is; None: standard output goes elsewhere."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def _shortened(value: Any, rank: Rank) -> Any:
    return rank.short(value) if isinstance(value, str) else value


def _widths(heads: Sequence[str], rows: Sequence[Sequence[Any]]) -> dict[str, int]:
    return {
        head: max(width_of(head), max((width_of(cell_text(row[at])) for row in rows), default=0))
        for at, head in enumerate(heads)
    }


def sum_of(widths: Mapping[str, int]) -> int:
    """Columns of the terminal that these take together."""
    return sum(widths.values()) + GAP * (len(widths) - 1)
