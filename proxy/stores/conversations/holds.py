"""The port of holds: what replicas that share a conversation store work on alone, each for as long as it lives."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Held:
    """What one of them works on: a caller's thread in a dialect, or whatever else has one key. `token` tells holds."""

    identity: str
    dialect: str
    key: str
    token: str


class Holds(Protocol):
    """Who works on what. A hold ends when it is let go of, or with the lease of its owner."""

    async def take(self, held: Held, label: str) -> bool:
        """Work on it alone from now on; False: another replica does. `label` is for whoever is refused.

        Raises:
            LedgerUnavailableError: nobody can know now.
        """
        ...

    def let_go(self, held: Held) -> None:
        """Work on it no longer: done as soon as the store takes it. Never waits."""
        ...

    async def free(self, held: Held) -> None:
        """The same, and return when others know; what the store does not take now it takes later."""
        ...

    async def label(self, identity: str, dialect: str, key: str) -> str | None:
        """The label of the hold that another replica has; None: there is none.

        Raises:
            LedgerUnavailableError: nobody can know now.
        """
        ...
