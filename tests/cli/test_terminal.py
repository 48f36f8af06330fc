"""What the running program says of its drain: in words on a terminal, and there only."""

import io
import sys
from types import SimpleNamespace
from typing import Any, cast

import pytest

from proxy.app import App
from proxy.cli.terminal import tell_of_drain, tell_of_end
from proxy.core.settings_sections import DrainSettings


class Terminal(io.StringIO):
    """A terminal's end."""

    def isatty(self) -> bool:
        """It is one."""
        return True


def app(running: int, **drain: Any) -> App:
    """As much of a running program as is told of."""
    settings = SimpleNamespace(drain=DrainSettings(**drain))
    engine = SimpleNamespace(registry=[None] * running)
    return cast(
        "App", SimpleNamespace(engine=engine, gateway=SimpleNamespace(runtime=SimpleNamespace(settings=settings)))
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
