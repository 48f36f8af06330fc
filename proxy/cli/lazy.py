"""A group of commands, each loaded when it is called: one must not load what only another needs."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import click
from click.shell_completion import CompletionItem


class LazyGroup(click.Group):
    """Commands by name, in the order in which one meets them. `places` says where each is, as `module:name`."""

    def __init__(self, *args: Any, places: Mapping[str, str], **settings: Any) -> None:
        super().__init__(*args, **settings)
        self._places = places

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 click's signature
        """Every command's name."""
        return list(self._places)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 click's signature
        """Load one command."""
        place = self._places.get(cmd_name)
        if place is None:
            return None
        module, _, name = place.partition(":")
        command: click.Command = getattr(import_module(module), name)
        return command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click does; an option of a command that stands before it is told where it belongs.

        Raises:
            click.UsageError: it is no option here.
        """
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            where = f"A command's options stand behind its name: {ctx.command_path} COMMAND {error.option_name}"
            raise click.UsageError(f"{error.format_message()} {where}", ctx) from None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that was typed; a word that is none is told which ones are near. `help` is as good as `--help`.

        Raises:
            click.NoSuchCommand: it is none.
        """
        if args[0] == "help":
            if not args[1:] and not ctx.resilient_parsing:  # a shell that completes wants no text
                click.echo(ctx.get_help())
                ctx.exit()
            args = [*args[1:], "--help"]
        try:
            return super().resolve_command(ctx, args)
        except click.NoSuchCommand as error:  # click itself looks among the commands that are loaded: none
            raise click.NoSuchCommand(error.command_name, possibilities=self._places, ctx=ctx) from None

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem[Any]]:
        """What a shell may put in place of the word, without loading a command: somebody waits behind a key."""
        names = [CompletionItem(name) for name in self._places if name.startswith(incomplete)]
        return [*names, *click.Command.shell_complete(self, ctx, incomplete)]
