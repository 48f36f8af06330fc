"""A generation that calls its upstream, as those see it who only look on: who watches calls, and who tells of them."""

from typing import Protocol

from proxy.core.generation import Generation
from proxy.core.read_on import ReadOn
from proxy.engine.relaying.plan import Plan
from proxy.engine.upstreams.upstream import Upstream


class Calling(Protocol):
    """As much of a relay as they look at."""

    @property
    def generation(self) -> Generation:
        """What calls."""
        ...

    @property
    def plan(self) -> Plan:
        """What its client asked for."""
        ...

    @property
    def upstream(self) -> Upstream:
        """What is called."""
        ...

    @property
    def read_on(self) -> ReadOn | None:
        """What is read behind a stop; None: nothing is."""
        ...

    @property
    def streams(self) -> bool:
        """Whether a stream of events has begun for the client."""
        ...
