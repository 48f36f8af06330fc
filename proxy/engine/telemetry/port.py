"""What the engine tells of each call upstream, where somebody traces. Nobody does unless the settings say so."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from proxy.core.headers import HeaderPair
from proxy.core.record import Record

if TYPE_CHECKING:
    from proxy.engine.relaying.relay import Relay


class Telemetry(Protocol):
    """Who is told. None of this waits or raises."""

    def calling(self, relay: "Relay", headers: Sequence[HeaderPair]) -> Sequence[HeaderPair]:
        """A generation is about to call its upstream; gives the headers of the call, with its trace in them."""
        ...

    def settled(self, relay: "Relay", record: Record) -> None:
        """A generation is over, counted and priced; one that never called its upstream too."""
        ...
