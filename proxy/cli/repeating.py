"""The same again and again, until Ctrl-C: in place on a terminal, one behind the other elsewhere."""

import sys
import time
from collections.abc import Callable
from typing import Final, TypeVar

import click

from proxy.cli.admin_client import CommandError, Exit
from proxy.cli.output import say

EVERY: Final = "2s"

CLEAR: Final = "\x1b[2J\x1b[H"
"""Empties a terminal and goes to its first line."""

INTERRUPTED: Final = 130
"""Exit code after Ctrl-C, as of every program that SIGINT ends."""

T = TypeVar("T")


def repeatedly(look: Callable[[], T], show: Callable[[T], None], seconds: float, *, in_place: bool) -> None:
    """Look every so many seconds, and show it; ends the process with Ctrl-C. A proxy that is away is waited for.

    Raises:
        CommandError: the first call's, or one that no waiting mends.
    """
    clears = in_place and sys.stdout.isatty()
    has_worked = False
    try:
        while True:
            try:
                found = look()
            except CommandError as error:
                if not has_worked or error.code is not Exit.FAILED:
                    raise
                say(f"{error}; trying again")
            else:
                has_worked = True
                if clears:
                    click.echo(CLEAR, nl=False)
                show(found)
            sys.stdout.flush()
            time.sleep(seconds)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
