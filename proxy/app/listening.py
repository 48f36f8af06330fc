"""Listening on an address, and what is said when that can't be done."""

import errno
import os
from contextlib import AsyncExitStack
from typing import Final

from aiohttp import web

from proxy.app.errors import StartError
from proxy.core.settings.settings import Address

BY_HAND: Final = "--{0} HOST:PORT (make run ARGS='--{0} HOST:PORT')"
"""Where an address is set when there is no config file."""


def place_of(key: str, *, in_file: bool) -> str:
    """Where an address is set: in the config file, or by hand."""
    return key if in_file else BY_HAND.format(key.replace(".", "-"))


async def listen(
    runner: web.ServerRunner, address: Address, where: str, stack: AsyncExitStack, *, shared: bool = False
) -> int:
    """Begin to serve on an address, until the stack unwinds; gives the port, which the system may have chosen.

    Args:
        runner: what serves.
        address: where it listens.
        where: that is set.
        stack: ends it.
        shared: with other processes.

    Raises:
        StartError: there is no listening there.
    """
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    site = web.TCPSite(runner, address.host, address.port, backlog=1024, reuse_port=shared or None)
    try:
        await site.start()
    except OSError as error:
        raise no_listening(address, error, where) from error
    return int(runner.addresses[0][1])


def no_listening(address: Address, error: OSError, where: str) -> StartError:
    """Why there is no listening on an address, and what to do; `where` it is set."""
    why = os.strerror(error.errno) if error.errno else str(error)
    stop = "Stop what uses it, or set" if error.errno == errno.EADDRINUSE else "Set"
    return StartError(f"can't listen on {address} ({why.lower()}). {stop} another address: {where}")
