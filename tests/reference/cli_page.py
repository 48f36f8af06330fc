"""The page of the commands: what each says of itself with `--help`."""

from copy import copy
from typing import Final

import click

from proxy.cli import main

WIDTH: Final = 100
_HEAD: Final = """\
# Commands

What each command says of itself with `--help`. Those that talk to a running proxy find its admin listener and its token
as [Watch and operate](../howto/operate.md) says.

| exit code | meaning |
|---|---|
| 0 | done |
| 1 | it failed; what and why is on standard error |
| 2 | the command was typed wrong |
| 3 | there is no such generation |
| 4 | it had already finished |
| 5 | not allowed: no token, or the wrong one |
| 6 | not confirmed in time |
"""


def cli_page() -> str:
    """The page."""
    # As a command that was typed has it.
    above = click.Context(main, info_name="quell", terminal_width=WIDTH, **main.context_settings)
    return "\n".join([_HEAD, *_texts(main, above, level=2)])


def _texts(group: click.Group, above: click.Context, level: int) -> list[str]:
    """One text for each command of a group, and those below it."""
    texts = []
    for name in group.list_commands(above):
        command = group.get_command(above, name)
        if command is None or command.hidden:
            continue
        command = copy(command)
        command._help_option = None  # click keeps the one that was first asked for, by a test perhaps
        here = click.Context(command, info_name=name, parent=above, terminal_width=WIDTH)
        texts.append(f"{'#' * level} {here.command_path}\n\n```text\n{command.get_help(here).rstrip()}\n```\n")
        if isinstance(command, click.Group):
            texts += _texts(command, here, level + 1)
    return texts
