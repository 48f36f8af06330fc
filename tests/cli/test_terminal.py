"""What the running program says of its drain: in words on a terminal, and there only."""

import io
import sys
from types import SimpleNamespace
from typing import Any, cast

import pytest
import structlog

from proxy.app import App
from proxy.cli.logs import set_up_log
from proxy.cli.terminal import tell_of_drain, tell_of_end, tell_of_last_run
from proxy.core.settings.sections import DrainSettings
from proxy.core.settings.settings import LogSettings


class Terminal(io.StringIO):
    """A terminal's end."""

    def isatty(self) -> bool:
        """It is one."""
        return True


def app(running: int = 0, interrupted: int = 0, text: str = "partial", **drain: Any) -> App:
    """As much of a running program as is told of."""
    settings = SimpleNamespace(drain=DrainSettings(**drain), ledger=SimpleNamespace(text=text))
    engine = SimpleNamespace(registry=[None] * running)
    return cast(
        "App",
        SimpleNamespace(
            engine=engine, interrupted=interrupted, gateway=SimpleNamespace(runtime=SimpleNamespace(settings=settings))
        ),
    )


@pytest.mark.parametrize(
    ("drain", "said"),
    [
        ({"ready_delay": 0}, "draining: 3 run, up to 60 s; Ctrl-C again ends at once"),
        (
            {"ready_delay": 5, "timeout": 90},
            "draining: new work is taken for 5 s more; then 3 run, up to 90 s; Ctrl-C again ends at once",
        ),
    ],
)
def test_a_drain_says_what_it_waits_for(drain: dict[str, Any], said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the first signal a terminal shows how many run, how long they may, and what a second Ctrl-C does."""
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    tell_of_drain(app(3, **drain))
    assert terminal.getvalue() == f"quell: {said}\n"


def test_the_end_says_how_many_were_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the end a terminal shows how many had to be stopped; without a terminal nothing is printed in words."""
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    tell_of_end(2)
    assert terminal.getvalue() == "quell: drained: 2 stopped, their partials are kept\n"
    monkeypatch.setattr(sys, "stderr", no_terminal := io.StringIO())
    tell_of_end(2)
    assert no_terminal.getvalue() == ""


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ({"interrupted": 2}, "quell: 2 generations were running when the process died; their partials are kept\n"),
        (
            {"interrupted": 2, "text": "none"},
            "quell: 2 generations were running when the process died; their records are kept\n",
        ),
        ({"interrupted": 0}, ""),
    ],
)
def test_a_start_after_a_kill_says_so(found: dict[str, Any], said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A start says how many generations the last process' death has cut short, and what is kept of them."""
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    tell_of_last_run(app(**found))
    assert terminal.getvalue() == said


@pytest.mark.parametrize(("value", "coloured"), [("", True), ("1", False)])
def test_the_log_has_colours_on_a_terminal_that_wants_them(
    value: str, coloured: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a terminal the log's lines have colours; NO_COLOR takes them away."""
    monkeypatch.setenv("NO_COLOR", value)
    before = structlog.get_config()
    try:
        set_up_log(LogSettings(), terminal := Terminal())
        structlog.get_logger().info("drain.begun")
    finally:
        structlog.configure(**before)
    assert "drain.begun" in terminal.getvalue()
    assert ("\x1b[" in terminal.getvalue()) == coloured
