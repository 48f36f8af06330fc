"""`quell completion`: the script that lets a shell complete commands and options."""

from typing import Final

import click
from click.shell_completion import ShellComplete, get_completion_class

from proxy.core.called import NAME

VARIABLE: Final = f"_{NAME.upper()}_COMPLETE"
"""Where a shell puts what it wants completed; click looks for it under this name."""

SHELLS: Final = ("bash", "zsh", "fish")


@click.command(short_help="Print the script for completion in a shell.")
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the script that completes quell's commands and options in a shell. Nothing is installed or called.

    \b
    bash, in ~/.bashrc:  eval "$(quell completion bash)"
    zsh, in ~/.zshrc:    eval "$(quell completion zsh)"   (behind compinit)
    fish:  quell completion fish > ~/.config/fish/completions/quell.fish

    It works where quell is on the PATH.
    """  # noqa: D301 \b is click's mark for lines that stay as they are
    made = get_completion_class(shell)
    if made is None:
        raise click.UsageError(f"There is no completion for {shell}.")
    script = ShellComplete.source(made(ctx.find_root().command, {}, NAME, VARIABLE))  # bash's own one starts a bash
    click.echo(script, nl=False)
