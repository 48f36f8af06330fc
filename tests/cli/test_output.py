"""How the commands show things."""

import csv
import io

import pytest

from proxy.cli.output import age, harmless, show_csv, show_table


def test_a_table_lines_up(capsys: pytest.CaptureFixture[str]) -> None:
    """Columns line up, numbers to the right, wide characters counted as two, unknown as a dash."""
    show_table(("NAME", "COUNT"), [("short", 1_234), ("日本", None)])
    assert capsys.readouterr().out.splitlines() == ["NAME   COUNT", "short  1,234", "日本       -"]


def test_an_empty_table_has_its_heads(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing to show is a line of heads."""
    show_table(("NAME", "COUNT"), [])
    assert capsys.readouterr().out == "NAME  COUNT\n"


def test_a_table_can_not_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Control characters in what strangers chose are shown as escapes."""
    show_table(("USER",), [("a\x1b[2Jb\nc",)])
    assert capsys.readouterr().out.splitlines() == ["USER", r"a\x1b[2Jb\nc"]


@pytest.mark.parametrize("begin", ["=", "+", "-", "@", "\t", "\r"])
def test_csv_has_no_formulas(capsys: pytest.CaptureFixture[str], begin: str) -> None:
    """A name that a spreadsheet would run is made text; numbers stay numbers (Z13)."""
    show_csv(("user", "count"), [(f"{begin}cmd|' /C calc'!A0", -1), ("plain", None)])
    rows = list(csv.reader(io.StringIO(capsys.readouterr().out, newline="")))
    assert rows[1][0].startswith("'" + begin)
    assert rows[1][1] == "-1"
    assert rows[2] == ["plain", ""]
    assert harmless(-1) == -1


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.4, "0s"), (42, "42s"), (190, "3m10s"), (3600, "1h00m"), (7500, "2h05m"), (356_400, "4d03h")],
)
def test_ages(seconds: float, shown: str) -> None:
    """An age has its two largest units."""
    assert age(seconds) == shown
