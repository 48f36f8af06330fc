"""What a relay asks of the engine that runs it."""

from typing import TYPE_CHECKING, Protocol

from proxy.engine.translation import Stored

if TYPE_CHECKING:
    from proxy.engine.relay import Relay


class Services(Protocol):
    """What a relay asks of the engine that runs it."""

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

    async def settle(self, relay: "Relay") -> None:
        """Write the record once, and let the generation go."""
        ...
