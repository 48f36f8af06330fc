"""What a relay asks of the engine that runs it."""

import asyncio
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Protocol

from proxy.core.headers import HeaderPair
from proxy.engine.telemetry.port import Telemetry
from proxy.engine.translating.translation import Stored
from proxy.engine.upstreams.open_calls import OpenCalls

if TYPE_CHECKING:
    from proxy.engine.relaying.relay import Relay


class Services(Protocol):
    """What a relay asks of the engine that runs it."""

    returns: bool
    """Whether a client that left may come back, to read on what lingers for it."""

    calls: OpenCalls
    """The calls of all relays, watched."""

    telemetry: Telemetry | None
    """Who is told of calls, where the settings name somebody."""

    def now(self) -> float:
        """Monotonic seconds."""
        ...

    def learned_id(self, relay: "Relay", upstream_id: str) -> None:
        """The upstream named its completion: an alias from now on."""
        ...

    async def count(self, relay: "Relay") -> None:
        """Write the token counts into the ended generation."""
        ...

    async def keep(self, relay: "Relay", stored: Stored) -> None:
        """Write into the conversation store what became of the answer; returns when it is on disk, or can't be.

        It is written to its end also when whoever waits for that is cancelled.
        """
        ...

    def start(self, coroutine: Coroutine[Any, Any, Any], name: str) -> "asyncio.Task[Any]":
        """Start a task that goes on by itself, and whose end the engine waits for."""
        ...

    def abort(self, relay: "Relay", headers: list[HeaderPair]) -> None:
        """Call the upstream's own abort with these headers, in a task that goes on by itself."""
        ...

    async def release(self, relay: "Relay") -> None:
        """The client is done with a generation whose upstream is read on: nobody shall wait for it any more.

        Returns when its stop is on disk, or can't be.
        """
        ...

    async def settle(self, relay: "Relay") -> None:
        """Write the record once, and let the generation go."""
        ...
