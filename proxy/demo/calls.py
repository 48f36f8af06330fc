"""What the demo upstream saw: one entry a call, how far it came, and how and when it ended."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any
from uuid import uuid4

KEPT = 1000
"""How many calls are remembered: enough for an evening of trying, and nothing to a laptop's memory."""


class Ended(StrEnum):
    """How a call ended."""

    FINISHED = "finished"
    CLOSED = "closed by the other side"
    FAILED = "failed as asked"
    STOPPED = "the demo upstream was stopped"


@dataclass(slots=True)
class DemoCall:
    """One call. Times are seconds since the epoch; `ms` is how long the call took."""

    id: str
    path: str
    of: int
    """How many tokens were asked for, over all choices."""
    stream: bool
    started: float = field(default_factory=time.time)
    tokens_sent: int = 0
    """How many tokens were made so far; a call that does not stream sends them at its end."""
    ended: Ended | None = None
    at: float | None = None
    ms: float | None = None
    _clock: float = field(default_factory=time.perf_counter, repr=False)

    def __str__(self) -> str:
        if self.ended is Ended.CLOSED:
            return f"saw the close of {self.id} after {self.tokens_sent} of {self.of} tokens"
        return f"{self.id}: {self.ended or 'running'}, {self.tokens_sent} of {self.of} tokens"

    def end(self, how: Ended) -> None:
        """Note the end; the first one stays."""
        if self.ended is None:
            self.ended = how
            self.at = time.time()
            self.ms = round((time.perf_counter() - self._clock) * 1000, 3)

    def as_json(self) -> dict[str, Any]:
        """The call as `/demo/calls` shows it."""
        return {name: value for name, value in asdict(self).items() if not name.startswith("_")}


class Calls:
    """The calls of one demo upstream, newest first."""

    def __init__(self, on_close: Callable[[DemoCall], None] | None) -> None:
        """`on_close` is called for each call that the other side closed before its end, as soon as that was seen."""
        self._kept: deque[DemoCall] = deque(maxlen=KEPT)
        self._on_close = on_close

    def __iter__(self) -> Iterator[DemoCall]:
        return iter(self._kept)

    def begin(self, prefix: str, path: str, of: int, *, stream: bool) -> DemoCall:
        """Note a new call under a fresh id."""
        call = DemoCall(f"{prefix}-demo-{uuid4().hex[:24]}", path, of, stream)
        self._kept.appendleft(call)
        return call

    def find(self, call_id: str) -> DemoCall | None:
        """The call with this completion id."""
        return next((call for call in self._kept if call.id == call_id), None)

    def closed(self, call: DemoCall) -> None:
        """The other side closed this call; one that had its end before stays as it is."""
        if call.ended is None:
            call.end(Ended.CLOSED)
            if self._on_close is not None:
                self._on_close(call)
