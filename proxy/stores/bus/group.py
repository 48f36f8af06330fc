"""The port of what a bus knows of all replicas together: who there is, who owns what, who is dead.

With it one replica may ask all that own something of a caller's, and keep a letter for one that can't be reached; a
chosen id is claimed before its generation begins; and what a dead replica left is ended by exactly one of the others.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

CLAIM_SECONDS: Final = 60.0
"""How long an id stays claimed whose generation does not come: longer than a body may take to arrive."""

BURIAL_SECONDS: Final = 30.0
"""How long one replica may take to see to what a dead one left; then another may."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a generation is or was, as the directory knows it."""

    uid: str
    identity: str
    replica: str
    is_over: bool
    about: bytes


@dataclass(frozen=True, slots=True)
class Holder:
    """Who has an id that was to be claimed. `is_begun`: its generation is known, and may be asked after."""

    uid: str
    replica: str
    is_begun: bool


class GroupBus(Protocol):
    """What a replica knows and does of all of them.

    Whatever waits does so for a bounded time, and raises `BusUnavailableError` where the bus can't be asked.
    """

    @property
    def strangers(self) -> list[str]:
        """The replicas on this bus that sign with another secret: what they run can't be known."""
        ...

    async def replicas(self) -> list[str]:
        """The replicas that there are: those that hold their lease, and those that lost it and are not buried yet."""
        ...

    async def owners(self, identity: str) -> list[str]:
        """The replicas that run something of an identity's."""
        ...

    async def left_with(self, replica: str, identity: str | None) -> list[Place]:
        """What a replica runs, of an identity or (None) of anybody, as it said itself."""
        ...

    async def places(self, identity: str, uids: Sequence[str]) -> list[Place]:
        """Where these generations of an identity's are or were, those of them that are known."""
        ...

    async def post(self, replica: str, number: str, letter: bytes) -> int:
        """Send a letter, and in the same step keep it until the replica says that it has it.

        Gives how many listen, as far as the server asked can tell.
        """
        ...

    def taken(self, number: str) -> None:
        """The kept letter with this number was read by this replica."""
        ...

    async def claim(self, identity: str, task_id: str, uid: str, but: Collection[str]) -> Holder | list[bytes]:
        """Claim a chosen id for a generation that is about to begin here.

        Gives the stops that wait for it, which stay there; or who has the id: `but` are generations that don't count.
        A claim that comes behind the beginning of its own generation changes nothing.
        """
        ...

    def give_up(self, identity: str, task_id: str, uid: str) -> None:
        """The generation for which an id was claimed does not begin."""
        ...

    async def is_unheard(self, replica: str) -> bool:
        """Whether nobody listens for a replica, at any server."""
        ...

    async def is_dead(self, replica: str) -> bool:
        """Whether a replica is gone: its lease is over and nobody listens for it, or it is over for very long.

        One that stands still listens, and so does, for a server that knows no better, one whose machine vanished.
        """
        ...

    async def begin_burial(self, replica: str) -> bool:
        """Whether this replica is the one that sees to what a dead one left."""
        ...

    async def bury(self, replica: str) -> list[Place]:
        """End in the directory what a dead replica ran there; gives what this call has ended."""
        ...

    async def end_burial(self, replica: str) -> None:
        """All is seen to: the dead replica is known no more."""
        ...
