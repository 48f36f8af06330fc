"""How the commands show things: tables, JSON, CSV. Tables go to standard output, messages to standard error.

Names and texts come from strangers: nothing of them reaches a terminal or a spreadsheet as a command.
"""

import csv
import io
import json
import os
import sys
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import click

from proxy.config_file.problems import printable

UNKNOWN: Final = "-"
ABOUT: Final = "~"
"""Before a number that is estimated."""
"""What stands for a value that is not known; 0 is a number."""

_WIDE: Final = frozenset({"W", "F"})
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
_GAP: Final = "  "


def show_json(value: Any) -> None:
    """Print a value as JSON."""
    click.echo(json.dumps(value, indent=2))


def show_json_line(value: Any) -> None:
    """Print a value as JSON on one line, for what comes again and again."""
    click.echo(json.dumps(value))


def show_table(heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print rows under their heads, numbers to the right; None is shown as unknown."""
    given = list(rows)
    cells = [[cell_text(value) for value in row] for row in given]
    numbers = [all(isinstance(row[at], int | float | None) for row in given) for at in range(len(heads))]
    widths = [max(width_of(row[at]) for row in [heads, *cells]) for at in range(len(heads))]
    click.echo(bold(_line(heads, widths, numbers)))
    for row in cells:
        click.echo(_line(row, widths, numbers))


def show_csv(heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print rows as CSV (RFC 4180), the heads first; unknown is an empty cell."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(heads)
    writer.writerows([harmless(value) for value in row] for row in rows)
    click.echo(text.getvalue(), nl=False)


def harmless(value: Any) -> Any:
    """A CSV cell that no spreadsheet takes for a formula: text that begins like one gets an apostrophe before it."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def bold(text: str) -> str:
    """The text in bold where standard output is a terminal that shows it, see https://no-color.org."""
    return click.style(text, bold=True) if sys.stdout.isatty() and not os.environ.get("NO_COLOR") else text


def say(message: str) -> None:
    """Tell the person at the terminal something that is no result."""
    click.echo(printable(message), err=True)


def age(seconds: float) -> str:
    """A length of time as `42s`, `3m10s`, `2h05m` or `4d03h`."""
    whole = int(seconds)
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if not minutes:
        return f"{whole}s"
    if not hours:
        return f"{minutes}m{whole % 60:02}s"
    if not days:
        return f"{hours}h{minutes % 60:02}m"
    return f"{days}d{hours % 24:02}h"


def how_much(tokens: int | None, characters: int | None) -> str:
    """The length of an answer behind a dot, in tokens where they are known; nothing where nobody knows it."""
    if tokens is not None:
        return f" · {tokens} tokens"
    return "" if characters is None else f" · {characters} characters"


def cell_text(value: Any) -> str:
    """What stands for a value in a table."""
    if value is None:
        return UNKNOWN
    return f"{value:,}" if isinstance(value, int) else printable(str(value))


def width_of(text: str) -> int:
    """Columns of a terminal that a text takes."""
    return sum(0 if unicodedata.combining(char) else 1 + (unicodedata.east_asian_width(char) in _WIDE) for char in text)


def fitted(text: str, width: int, *, to_the_right: bool = False) -> str:
    """The text in exactly so many columns of a terminal: filled with blanks, or cut, which a `…` shows."""
    if width_of(text) > width:
        while text and width_of(text) > width - 1:
            text = text[:-1]
        text = f"{text}…" if width else ""
    space = " " * (width - width_of(text))
    return space + text if to_the_right else text + space


def _line(cells: Sequence[str], widths: Sequence[int], numbers: Sequence[bool]) -> str:
    padded = []
    for cell, width, is_number in zip(cells, widths, numbers, strict=True):
        space = " " * (width - width_of(cell))
        padded.append(space + cell if is_number else cell + space)
    return _GAP.join(padded).rstrip()


def say_what_is_missing(answer: Mapping[str, Any]) -> None:
    """Tell of replicas that could not be asked; an older proxy knows of no others."""
    if answer.get("complete", True):
        return
    silent = ", ".join(map(printable, answer.get("unreachable", ())))
    who = f"these replicas do not answer: {silent}" if silent else "the other replicas can't be asked now"
    say(f"not everything is known: {who}")
