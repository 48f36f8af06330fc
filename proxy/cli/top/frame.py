"""One picture of the screen: its lines, from what is known and what was typed."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from proxy.cli.output import fitted, width_of
from proxy.cli.top.board import Board
from proxy.cli.top.table import laid_out
from proxy.cli.top.view import Known, View
from proxy.config_file.problems import printable

KEYS: Final = "↑↓ select  s stop  / filter  o order  p pause  q quit"
FEW_LINES: Final = 8
"""A lower screen has only the table and the last line."""

_REVERSE, _BOLD, _PLAIN = "\x1b[7m", "\x1b[1m", "\x1b[0m"
_MARK: Final = "> "


def height_of_table(lines: int) -> int:
    """Rows for which there is room on a screen with so many lines."""
    return max(1, lines - (2 if lines < FEW_LINES else 5))


def frame(
    url: str,
    view: View,
    board: Board,
    rows: Sequence[Known],
    at: int,
    size: tuple[int, int],
    now: float,
    *,
    styled: bool,
) -> list[str]:
    """The lines of the whole screen, none wider than it.

    Args:
        url: which proxy this is.
        view: what is known.
        board: what was typed.
        rows: the rows that are shown, in their order.
        at: the number of the selected one; -1 for none.
        size: columns and lines of the screen.
        now: on the view's clock.
        styled: whether the terminal shows more than plain text.
    """
    columns, lines = size
    height = height_of_table(lines)
    above = [] if lines < FEW_LINES else [_title(url, view, board), _today(view.summary), _asked(view, board, rows)]
    last = board.top + height
    head, *body = laid_out(rows[board.top : last], now, columns - len(_MARK))
    told = [_cut(line, columns) for line in above if line]
    told.append(_styled(_cut(" " * len(_MARK) + head, columns), _BOLD, on=styled))
    for number, line in enumerate(body, board.top):
        is_selected = number == at
        text = _cut((_MARK if is_selected else " " * len(_MARK)) + line, columns)
        told.append(_styled(text, _REVERSE, on=styled and is_selected))
    if not body:
        told.append(_cut(f"  {_nothing(view, board)}", columns))
    told = told[: lines - 1]
    told += [""] * (lines - 1 - len(told))
    return [*told, _last_line(board, columns)]


def _title(url: str, view: View, board: Board) -> str:
    summary = view.summary
    counts = [f"{view.total:,} live"]
    counts += [f"{summary[name]:,} {words}" for name, words in _COUNTED.items() if summary.get(name)]
    parts = ["quell top", url, *counts]
    if board.paused:
        parts.append("PAUSED")
    if view.trouble:
        parts.append(f"NOT UP TO DATE: {printable(view.trouble)}")
    return " · ".join(parts)


_COUNTED: Final = {"reading_on": "reading on", "queued": "queued"}


def _today(summary: Mapping[str, Any]) -> str:
    today = summary.get("today")
    if not isinstance(today, Mapping):
        return ""
    parts = [f"today {today.get('generations') or 0:,}", f"stopped {today.get('stopped') or 0:,}"]
    if today.get("completion_tokens") is not None:
        parts.append(f"{today['completion_tokens']:,} tokens")
    parts += [f"{amount} {currency}" for currency, amount in (today.get("cost") or {}).items()]
    saved = today.get("saved_tokens") or {}
    if saved.get("typical"):
        parts.append(f"about {saved['typical']:,} tokens saved")
    if orphans := summary.get("orphans"):
        parts.append(f"{orphans:,} ORPHANED")
    return printable(" · ".join(parts))


def _asked(view: View, board: Board, rows: Sequence[Known]) -> str:
    asked = board.asked
    parts = [asked.order.name]
    if asked.text:
        parts.append(f"filter {printable(asked.text)}")
    if len(rows) < view.total:
        parts.append(f"{len(rows):,} of {view.total:,} shown")
    if view.is_polled:
        parts.append("this proxy has no feed: asked every 2 s")
    if not view.complete:
        parts.append("not all replicas answer")
    return " · ".join(parts)


def _nothing(view: View, board: Board) -> str:
    if view.trouble:
        return "nothing is known"
    return "nothing that runs fits the filter; Esc takes it away" if board.asked.text else "nothing runs"


def _last_line(board: Board, columns: int) -> str:
    if board.message and (board.prompt is None or board.prompt.about is None):
        return _cut(printable(board.message), columns)
    if board.prompt is None:
        return _cut(KEYS, columns)
    said, typed = printable(f"{board.prompt.words}: "), printable(board.prompt.typed)
    if width_of(said) + width_of(typed) + 1 <= columns:
        return f"{said}{typed}_"
    room = max(10, columns - 1 - width_of(said))
    shown = typed[-room:]
    return f"{fitted(said, max(0, columns - 1 - width_of(shown)))}{shown}_"


def _cut(text: str, columns: int) -> str:
    return text if width_of(text) <= columns else fitted(text, columns)


def _styled(text: str, style: str, *, on: bool) -> str:
    return f"{style}{text}{_PLAIN}" if on else text
