"""What a service manager is told, where one asks: that we serve, read the settings again, or end.

The protocol is that of systemd's sd_notify(3): a datagram to the socket that the environment names. Of several
processes only the first one may speak.
"""

import os
import socket
import time
from typing import Final

import structlog

VARIABLE: Final = "NOTIFY_SOCKET"
LAST_SECONDS: Final = 15.0
"""How long the end may take after the drain: the last records, then readers that lag."""

_IS_ABSTRACT: Final = "@"
_MICROSECONDS: Final = 1_000_000

log = structlog.get_logger()


def tell_serving() -> None:
    """Everything is open and listens; said again after each reload, whether or not the settings were taken."""
    _tell("READY=1")


def tell_reloading() -> None:
    """The settings are being read again."""
    _tell("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")


def tell_ending(drain_seconds: float) -> None:
    """The end has begun, and may take the drain's time however long the manager would wait by itself."""
    _tell("STOPPING=1", f"EXTEND_TIMEOUT_USEC={round((drain_seconds + LAST_SECONDS) * _MICROSECONDS)}")


def _tell(*lines: str) -> None:
    address = os.environ.get(VARIABLE)
    if not address:
        return
    if address.startswith(_IS_ABSTRACT):
        address = "\0" + address.removeprefix(_IS_ABSTRACT)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as to:
            to.setblocking(False)
            to.connect(address)
            to.send("\n".join(lines).encode())
    except OSError as error:  # whoever asked will find out; nobody's stream may end for that
        log.warning("service_manager.untold", told=lines[0], error=type(error).__name__)
