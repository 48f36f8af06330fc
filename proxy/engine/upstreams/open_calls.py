"""The upstream calls of generations that are open now, watched apart from the relays that made them.

A stop is worth what the closed connection is worth. Here it is looked at from outside: a call counts as open until its
connection is closed or back in the pool, whatever its relay believes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from proxy.engine.upstreams.calling import Calling
from proxy.engine.upstreams.upstream import Answer

ORPHAN_SECONDS: Final = 5.0
"""How long behind its generation's end a call may be open: a close takes a millisecond, a busy machine some more."""


@dataclass(slots=True, eq=False)
class OpenCall:
    """One call. `is_done`: its relay has let go of it. Without an answer it is still being connected, or waits."""

    relay: Calling
    answer: Answer | None = None
    is_done: bool = False

    @property
    def is_open(self) -> bool:
        """Whether the upstream still works, or could."""
        return not self.is_done or (self.answer is not None and self.answer.is_open)

    def is_orphan(self, now: float) -> bool:
        """Whether its generation should have closed it some time ago. One that is read on has until its bound."""
        generation, read_on = self.relay.generation, self.relay.read_on
        over = generation.stopped_at if generation.stopped_at is not None else generation.ended
        if over is None:
            return False
        if read_on is not None:
            over = max(over, read_on.until)
        return now - over > ORPHAN_SECONDS


@dataclass(slots=True)
class Calls:
    """So many calls of one upstream are open; of those are orphans, and are read on behind a stop."""

    open: int = 0
    orphans: int = 0
    read_on: int = 0


class OpenCalls:
    """One per process."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._calls: set[OpenCall] = set()

    def begin(self, relay: Calling) -> OpenCall:
        """A generation calls its upstream."""
        call = OpenCall(relay)
        self._calls.add(call)
        return call

    def end(self, call: OpenCall) -> None:
        """Its relay has closed it, as far as it knows. One that is open all the same is watched until it is not."""
        call.is_done = True
        if not call.is_open:
            self._calls.discard(call)

    def by_upstream(self) -> dict[str, Calls]:
        """The calls that are open now, by the names of their upstreams."""
        now, found = self._now(), dict[str, Calls]()
        self._calls = {call for call in self._calls if call.is_open}
        for call in self._calls:
            calls = found.setdefault(call.relay.upstream.name, Calls())
            calls.open += 1
            if call.is_orphan(now):
                calls.orphans += 1
            elif call.relay.read_on is not None:
                calls.read_on += 1
        return found
