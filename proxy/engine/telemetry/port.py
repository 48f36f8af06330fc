"""What the engine tells of each call upstream, where somebody traces. Nobody does unless the settings say so."""

from collections.abc import Sequence
from typing import Protocol

from proxy.core.headers import HeaderPair
from proxy.core.record import Record
from proxy.engine.upstreams.calling import Calling


class Telemetry(Protocol):
    """Who is told. None of this waits or raises."""

    def calling(self, relay: Calling, headers: Sequence[HeaderPair]) -> Sequence[HeaderPair]:
        """A generation is about to call its upstream; gives the headers of the call, with its trace in them."""
        ...

    def settled(self, relay: Calling, record: Record) -> None:
        """A generation is over, counted and priced; one that never called its upstream too."""
        ...
