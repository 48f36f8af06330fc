"""The result: one row per figure, as plain text and as Markdown."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from bench.contestants import HOP, NGINX, QUELL

COLUMNS: Final = ("figure", "at least", "goal", "nginx", "plain aiohttp", "Quell", "met")
NOTHING: Final = "-"


@dataclass(frozen=True, slots=True)
class Target:
    """What a figure must stay below: at least, and as a goal; in the figure's own unit."""

    at_least: float
    goal: float

    def met(self, value: float) -> str:
        """`goal`, `at least` or `no`."""
        if value <= self.goal:
            return "goal"
        return "at least" if value <= self.at_least else "no"


@dataclass(frozen=True, slots=True)
class Row:
    """One line: a figure's name, its cells by contestant, and where there is one the target and what was reached."""

    figure: str
    cells: Mapping[str, str]
    at_least: str = ""
    goal: str = ""
    met: str = ""

    def texts(self) -> list[str]:
        """The cells in the order of the columns."""
        values = (self.cells.get(name, "") for name in (NGINX, HOP, QUELL))
        return [cell or NOTHING for cell in (self.figure, self.at_least, self.goal, *values, self.met)]


@dataclass(slots=True)
class Table:
    """All rows, and the notes below them."""

    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def plain(self) -> str:
        """For a terminal."""
        lines = [list(COLUMNS), *(row.texts() for row in self.rows)]
        widths = [max(len(line[column]) for line in lines) for column in range(len(COLUMNS))]
        rule = ["-" * width for width in widths]
        shown = [_padded(line, widths) for line in (lines[0], rule, *lines[1:])]
        return "\n".join([*shown, "", *self.notes])

    def markdown(self) -> str:
        """For the README."""
        lines: Iterable[Sequence[str]] = [COLUMNS, ["---"] * len(COLUMNS), *(row.texts() for row in self.rows)]
        table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
        return table + "\n\n" + "\n".join(f"- {note}" for note in self.notes) + "\n"


def _padded(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
