"""What was found, as a checklist for people and as JSON for programs."""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Final

import click

from proxy.cli.admin_client import Exit
from proxy.config_file.problems import printable


class Verdict(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARN = "warn"
    """Works, but not as well as it could."""
    FAIL = "fail"
    SKIP = "skip"
    """Nothing can be said about it; the words say why."""


_COLORS: Final = {Verdict.OK: "green", Verdict.WARN: "yellow", Verdict.FAIL: "red", Verdict.SKIP: None}


@dataclass(frozen=True, slots=True)
class Finding:
    """One check. `measured` has its numbers, with their unit in their name; `code` is the exit code if it fails."""

    name: str
    verdict: Verdict
    told: str
    advice: Sequence[str] = ()
    measured: Mapping[str, Any] = field(default_factory=dict)
    code: Exit = Exit.FAILED


WORST_FIRST: Final = (Exit.NOT_ALLOWED, Exit.NOT_FOUND, Exit.NOT_CONFIRMED, Exit.FAILED)
"""Which exit code several failed checks have together: what kept the others from being made goes first."""


@dataclass(slots=True)
class Report:
    """The checks in their order. `about` is what was examined, and from where."""

    about: dict[str, Any] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    @property
    def code(self) -> Exit:
        """The exit code; a warning is no failure."""
        failed = {finding.code for finding in self.findings if finding.verdict is Verdict.FAIL}
        return next((code for code in WORST_FIRST if code in failed), Exit.DONE)

    def show_json(self) -> None:
        """Print it as one object."""
        checks = []
        for finding in self.findings:
            told = {**asdict(finding), "advice": list(finding.advice)}
            del told["code"]
            checks.append(told)
        click.echo(json.dumps({**self.about, "ok": self.code is Exit.DONE, "checks": checks}, indent=2))

    def show(self, *, quiet: bool) -> None:
        """Print it as lines, each with its verdict in words; `quiet`: only what is not ok."""
        width = max((len(finding.name) for finding in self.findings), default=0)
        for finding in self.findings:
            if quiet and finding.verdict in (Verdict.OK, Verdict.SKIP):
                continue
            word = _styled(finding.verdict)
            click.echo(f"{word}  {finding.name:<{width}}  {printable(finding.told)}")
            for line in finding.advice:
                click.echo(f"{' ' * (width + 8)}- {printable(line)}")

    def conclusion(self) -> str:
        """All of it in one sentence."""
        counts = {verdict: [each.verdict for each in self.findings].count(verdict) for verdict in Verdict}
        if counts[Verdict.FAIL]:
            return f"{counts[Verdict.FAIL]} failed: what to change stands below each"
        if counts[Verdict.WARN]:
            return "it works; what could be better stands below each warning"
        unknown = f"; {counts[Verdict.SKIP]} could not be told" if counts[Verdict.SKIP] else ""
        return f"streams and stops get through{unknown}"


def _styled(verdict: Verdict) -> str:
    word, color = f"{verdict:<4}", _COLORS[verdict]
    if color is None or not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
        return word
    return click.style(word, fg=color)
