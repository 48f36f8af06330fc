"""Running a command of the product in this process, with the tests' admin token."""

import asyncio

import click
from click.testing import CliRunner, Result
from structlog.testing import capture_logs

from support.program import ADMIN_TOKEN
from support.wait import PATIENCE, within


async def run(
    command: click.Command, *arguments: str, url: str, seconds: float = PATIENCE, **env: str | None
) -> Result:
    """Run a command in a thread; `url` is where it looks for the admin listener."""
    known = {"QUELL_ADMIN": url, "QUELL_ADMIN_TOKEN": ADMIN_TOKEN, "NO_COLOR": "1"}
    with capture_logs():
        call = asyncio.to_thread(CliRunner().invoke, command, arguments, env={**known, **env})
        return await within(call, f"{command.name} ends", seconds)
