"""Running a command of the real program to its end."""

import subprocess
import sys
from pathlib import Path

from support.program import environment


def quell(*arguments: str, folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run `quell ARGUMENTS` in `folder`; `env` is added to a clean environment."""
    return subprocess.run(
        [sys.executable, "-m", "proxy", *arguments],
        cwd=folder,
        env=environment(**env),
        capture_output=True,
        text=True,
        check=False,
    )
