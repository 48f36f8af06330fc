"""One worker, as it sees its parent: what it tells over the channel between them, and what it is told.

The parent alone hears the signals of the outside. A terminal and a service manager send theirs to every process, so
that a worker which listened too would take the parent's word for a second signal, and end at once.
"""

import asyncio
import json
import mmap
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import structlog

END: Final = b"E"
"""From the parent: a signal has come that ends us; the second one ends at once."""
RELOAD: Final = b"R"
"""From the parent: read the settings again."""

_NOT_FOR_WORKERS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_READ: Final = 4096

log = structlog.get_logger()


@dataclass(slots=True)
class Membership:
    """A worker's place among the others. `board` is shared by all: its byte says whether all have come up once."""

    number: int
    channel: socket.socket
    board: mmap.mmap
    _ended: bool = field(default=False, init=False)

    def have_all_come_up(self) -> bool:
        """Whether every worker has served since the start; one that died and is started again counts as before."""
        return self.board[0] == 1

    def came_up(self, port: int, admin_port: int, code: str | None) -> None:
        """Tell the parent that this one serves, and where; `code` lets into its page once."""
        self._tell({"port": port, "admin_port": admin_port, "code": code})

    def has_reloaded(self) -> None:
        """Tell the parent that an operator had this one reload: the others shall too."""
        self._tell({"reloaded": True})

    def listen(self, end: Callable[[], None], hurry: Callable[[], None], reload: Callable[[], None]) -> None:
        """Do what the parent says, from now on; when it is gone, end as if it had said so."""
        asyncio.get_running_loop().add_reader(self.channel, self._heard, end, hurry, reload)

    def _heard(self, end: Callable[[], None], hurry: Callable[[], None], reload: Callable[[], None]) -> None:
        try:
            words = self.channel.recv(_READ)
        except BlockingIOError:
            return
        except OSError:
            words = b""
        if not words:
            asyncio.get_running_loop().remove_reader(self.channel)
            log.warning("worker.parent_gone", hint="this worker drains: no one would pass it signals or start it again")
            end()
        for word in (words[at : at + 1] for at in range(len(words))):
            if word == RELOAD:
                reload()
            elif self._ended:
                hurry()
            else:
                self._ended = True
                end()

    def _tell(self, news: dict[str, Any]) -> None:
        try:
            self.channel.send(json.dumps(news).encode() + b"\n")
        except OSError:  # the parent is gone, which the reader finds out
            return


def ignore_signals() -> None:
    """Leave the signals of the outside to the parent."""
    for number in _NOT_FOR_WORKERS:
        signal.signal(number, signal.SIG_IGN)
