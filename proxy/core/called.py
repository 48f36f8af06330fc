"""How the program was called: what a message says that names a further command of it.

A fresh clone has `.venv/bin/quell`, an image has `quell` on its path, and some run `python -m proxy`: only what the
user typed is sure to work again.
"""

import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import PurePath
from typing import Final

NAME: Final = "quell"
_PACKAGE: Final = "proxy"


def called() -> str:
    """The command with which this process was started, to be typed before another command's name."""
    return command_of(sys.argv, sys.orig_argv, os.environ.get("PATH", ""))


def command_of(argv: Sequence[str], original: Sequence[str], path: str) -> str:
    """The command that these mean; the program's own name where it runs inside another one.

    Args:
        argv: as in `sys.argv`.
        original: as in `sys.orig_argv`, which begins with the interpreter as it was typed.
        path: the folders in which the shell looks; it calls what it found there by its whole path.
    """
    script = PurePath(argv[0]) if argv else PurePath()
    if script.name == "__main__.py" and script.parent.name == _PACKAGE:
        return f"{shlex.quote(original[0])} -m {_PACKAGE}"
    is_own = script.stem == NAME and argv[0] != NAME
    return NAME if not is_own or str(script.parent) in path.split(os.pathsep) else shlex.quote(argv[0])
