"""Tables on a terminal that is too narrow for them."""

import io
import os
import sys
from pathlib import Path

import pytest

from proxy.cli.output import width_of
from proxy.cli.ps import show_live
from proxy.cli.usage import COUNTS, SAVED
from proxy.cli.whole_id import short_id
from support.pty_program import on_terminal
from support.scripts import json_answer
from support.upstream import scripted_upstream

MADE = "9f3c1a2b-0000-4000-8000-000000000001"
CHOSEN = "conversation-4711-turn-12"


class Terminal(io.StringIO):
    """A terminal's end."""

    def isatty(self) -> bool:
        """It is one."""
        return True


def record(task_id: str, replica: str = "a") -> dict[str, object]:
    """A record of the list of what runs."""
    return {
        "task_id": task_id,
        "message_id": MADE,
        "elapsed_seconds": 190.0,
        "cause": None,
        "phase": "streaming",
        "route": "/v1",
        "model": "a-provider/a-model-with-a-long-name-2026-11-26",
        "key_id": "anonymous",
        "user": "customer-1@example.com",
        "characters": 12_345,
        "replica": replica,
    }


def shown(monkeypatch: pytest.MonkeyPatch, columns: int, *records: dict[str, object], output: str = "table") -> str:
    """What `ps` prints of these on a terminal of so many columns."""
    monkeypatch.setattr(sys, "stdout", terminal := Terminal())
    monkeypatch.setattr("shutil.get_terminal_size", lambda: os.terminal_size((columns, 24)))
    monkeypatch.setenv("NO_COLOR", "1")
    show_live(list(records), output)
    return terminal.getvalue()


@pytest.mark.parametrize("columns", [40, 60, 80, 100, 120])
def test_no_line_is_wider_than_the_terminal(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    """However narrow it is, `ps` keeps to it: a chosen id stays whole, of one that Quell made the begin is enough."""
    lines = shown(monkeypatch, columns, record(MADE), record(CHOSEN, "b")).splitlines()
    assert max(map(width_of, lines)) <= columns
    assert [line.split()[0] for line in lines] == ["ID", "9f3c1a2b…", CHOSEN]


def test_what_matters_least_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """At 80 columns what remains says what runs, for how long, and how far it is."""
    heads = shown(monkeypatch, 80, record(MADE)).splitlines()[0]
    assert heads.split() == ["ID", "AGE", "STATE", "MODEL", "USER", "CHARS"]
    assert "REPLICA" in shown(monkeypatch, 200, record(MADE), record(CHOSEN, "b"))


def test_where_there_is_room_nothing_is_cut(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A wide terminal, `-o wide`, and what is no terminal get each cell whole."""
    whole = (MADE, "a-provider/a-model-with-a-long-name-2026-11-26", "customer-1@example.com")
    wide = {**record(MADE), "completion_tokens": 1}
    for text in (shown(monkeypatch, 200, record(MADE)), shown(monkeypatch, 40, wide, output="wide")):
        assert all(each in text for each in whole)
    monkeypatch.undo()
    show_live([record(MADE)], "table")
    piped = capsys.readouterr().out
    assert all(each in piped for each in whole)


async def test_usage_names_what_has_no_room(tmp_path: Path) -> None:
    """On a narrow terminal `usage` leaves out columns too, but says which: somebody may look for a sum."""
    group = {"group": {"model": "m"}, "cost": {}, **dict.fromkeys([*COUNTS, "cost_unknown", *SAVED], 1_000)}
    async with scripted_upstream(json_answer({"by": ["model"], "data": [group]})) as fake:
        usage = ["-m", "proxy", "usage", "--admin", fake.origin]
        async with on_terminal(usage, tmp_path, columns=80, QUELL_ADMIN_TOKEN="x") as terminal:
            assert await terminal.exit_code() == 0
    heads, _, said = terminal.output.splitlines()
    assert width_of(heads) <= 80
    assert said == "this terminal has no room for CACHED, REASONING, LATE; -o csv has all"


def test_ids_that_are_not_ours_are_not_shortened() -> None:
    """Only an id that can be typed by its begin is shown by it."""
    assert (short_id(MADE), short_id(CHOSEN)) == ("9f3c1a2b…", CHOSEN)
