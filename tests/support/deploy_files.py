"""The files below `deploy/` in tests: the tools that know their formats, and the settings in their configs."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Final

from proxy.config_file import load
from proxy.core.settings.settings import Settings
from support.program import ROOT

DEPLOY: Final = ROOT / "deploy"
LAST_RECORDS: Final = 15.0
"""Seconds that the program may take after its drain: the last records, then readers that lag."""


def tool(name: str, *arguments: str) -> str:
    """Run a tool that is installed beside this Python, and give what it said when it found something wrong."""
    command = [str(Path(sys.executable).with_name(name)), *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr if done.returncode else ""


def settings_of(file: Path, **environ: str) -> Settings:
    """The settings in a file, which must be valid."""
    loaded = load(file, environ)
    assert loaded.settings is not None, loaded.problems
    return loaded.settings


def seconds(text: str) -> float:
    """A compose duration such as 90s."""
    found = re.fullmatch(r"(\d+)s", text)
    assert found, f"expected whole seconds, such as 90s: {text}"
    return float(found[1])
