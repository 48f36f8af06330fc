"""The pushed read: the pieces of a body are handed on in the tick in which they arrive.

Waiting for each piece in a task costs a future, a wake-up and two coroutines per event: 2.6 of 41 µs when it was
measured (200 streams, an event every 20 ms). Only the end of the body, and a break, wake the task.
"""

import asyncio
from collections.abc import Callable

from aiohttp.streams import StreamReader

from proxy.engine.upstreams.connections import Line, join_arrived, left_over

Take = Callable[[bytes], bool]
"""Gets a piece; says True when it has all it wants."""


class PushedBody:
    """One body on its way to `take`. After `take` has all, only the end is waited for, `grace` seconds long."""

    def __init__(self, content: StreamReader, take: Take, grace: float) -> None:
        self._content = content
        self._take = take
        self._grace = grace
        self._scope = asyncio.timeout(None)
        self._reading = self._more = self._has_all = False
        self.failure: Exception | None = None
        """What `take` raised."""

    async def push(self, line: Line) -> bool:
        """Push the body that arrives on `line` to its end; True when it ended properly.

        Raises:
            Exception: whatever `take` raised, or aiohttp's error of a body that broke off before `take` had all.
        """
        line.arrived = arrived = self._arrived
        try:
            async with self._scope:
                self._check_whole()
                self._arrived()
                await self._content.wait_eof()
        except TimeoutError:
            self._check_taken()
            return False
        except Exception:
            line.arrived = None
            self._check_taken()
            self._take_rest()
            if self._has_all:
                return False
            raise
        finally:
            if line.arrived is arrived:  # it may carry the next request already
                line.arrived = None
        self._check_taken()  # the end may have come in the tick in which `take` failed
        self._take_rest()
        return True

    def _check_taken(self) -> None:
        if self.failure is not None:
            raise self.failure from None

    def _check_whole(self) -> None:
        """Nobody is told of a break that came before anybody waited."""
        if (broken := self._content.exception()) is not None:
            raise broken

    def _take_rest(self) -> None:
        if rest := left_over(self._content):
            self._has_all = self._take(rest) or self._has_all

    def _arrived(self) -> None:
        """Take what is there. Taking makes aiohttp parse what it had held back, which calls this once more."""
        if self._reading or self.failure is not None:
            self._more = True
            return
        self._reading = True
        try:
            self._take_all()
        except Exception as error:  # noqa: BLE001 it has to end the task that waits, not the connection's callback
            self.failure = error
            self._end_by(0.0)
        finally:
            self._reading = False

    def _take_all(self) -> None:
        self._more = True
        while self._more:
            self._more = False
            join_arrived(self._content)
            piece = self._content.read_nowait()
            if piece and self._take(piece) and not self._has_all:
                self._has_all = True
                self._end_by(asyncio.get_running_loop().time() + self._grace)

    def _end_by(self, when: float) -> None:
        if not self._scope.expired():
            self._scope.reschedule(when)
