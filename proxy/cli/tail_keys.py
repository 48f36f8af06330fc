"""The keys of `quell tail` on a terminal: `s` stops what is shown."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from typing import Final

import click

from proxy.cli.admin_client import AdminClient, CommandError
from proxy.cli.keys import is_ours, single_keys
from proxy.cli.output import say
from proxy.cli.stop import sentence, stop_one

HINT: Final = "s stops it; Ctrl-C ends the show and lets it go on"

_READ: Final = 64


@asynccontextmanager
async def stopped_by_key(client: AdminClient, message_id: str) -> AsyncIterator[None]:
    """While the block lasts the key `s` stops this generation, if somebody sits at a terminal; else nothing happens."""
    if not (sys.stdout.isatty() and is_ours(sys.stdin)):
        yield
        return
    say(HINT)
    terminal, loop = sys.stdin.fileno(), asyncio.get_running_loop()
    stopping: asyncio.Future[None] | None = None
    mode = ExitStack()

    def take_terminal() -> None:
        mode.close()
        mode.enter_context(single_keys(terminal))

    def heard() -> None:
        nonlocal stopping
        try:
            keys = os.read(terminal, _READ)
        except OSError:
            keys = b""
        if not keys:  # the terminal is gone
            loop.remove_reader(terminal)
        elif b"s" in keys.lower() and (stopping is None or stopping.done()):
            stopping = loop.run_in_executor(None, _stop, client, message_id)

    with mode:
        take_terminal()
        loop.add_signal_handler(signal.SIGCONT, take_terminal)  # a shell may have changed it meanwhile
        loop.add_reader(terminal, heard)
        try:
            yield
            if stopping is not None:
                await stopping
        finally:
            loop.remove_reader(terminal)
            loop.remove_signal_handler(signal.SIGCONT)


def _stop(client: AdminClient, message_id: str) -> None:
    try:
        told = sentence(stop_one(client, message_id, {}))
    except CommandError as error:
        told = f"not stopped: {error}"
    click.echo(err=True)
    say(told)
