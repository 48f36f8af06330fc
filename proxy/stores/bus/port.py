"""The port of the directory and the bus: who owns an id, and how to reach that owner.

One port for both, because a stop must find the owner, be kept for it and be sent to it in one step. What the letters
say, and who may be believed, is not known here.
"""

from dataclasses import dataclass
from typing import Final, Protocol

from proxy.stores.bus.group import GroupBus, Place

__all__ = ["Bus", "BusUnavailableError", "Inbox", "KeptStop", "Owned", "Place"]

OVER_SECONDS: Final = 120.0
"""How long the directory knows a generation that is over; then only its record does."""

WAITING_SECONDS: Final = 10.0
WAITING_EACH: Final = 1000
"""How long a stop waits for its generation, and for how many ids of one caller's some may; of more the oldest go."""
WAITING_USERS: Final = 32
"""So many stops wait for one id, each of another end user's; of more the oldest go."""

PARCELS_MOST: Final = 4096
PARCEL_SECONDS: Final = 30.0
"""How many parcels lie at the bus for one replica, and for how long when nothing more comes."""

COLLECT_SECONDS: Final = 1.0

KEPT_SECONDS: Final = 3600.0
"""How long a stop is kept for an owner that can't be reached."""

KEPT_EACH: Final = 32
"""So many stops are kept for one generation: any of them is enough, so of more the newer are sent only."""


class BusUnavailableError(Exception):
    """The bus can't be asked now: what other replicas run is not known."""


@dataclass(frozen=True, slots=True)
class Owned:
    """A generation that this replica runs, or that a run of its waits behind.

    A stop may wait for its task id or its message id, of this `user` or of any; `aliases` are what else it is called
    by. `about` is for whoever looks it up.
    """

    uid: str
    identity: str
    task_id: str
    message_id: str
    aliases: tuple[str, ...]
    user: str | None
    about: bytes


@dataclass(frozen=True, slots=True)
class KeptStop:
    """A letter that is kept for an owner until that withdraws it, or its generation is over.

    `must_stay`: it asks for more than a stop, so that it is kept however many are.
    """

    number: str
    letter: bytes
    must_stay: bool = False


class Inbox(Protocol):
    """What a replica does with what comes for it. None of this waits."""

    def got_letter(self, letter: bytes) -> None:
        """A letter to this replica came."""
        ...

    def found_stop(self, uid: str, letter: bytes) -> None:
        """A stop is kept for a generation that this replica owns.

        It is found again until it is withdrawn, or its generation is released.
        """
        ...

    def found_waiting(self, uid: str, letter: bytes) -> None:
        """A stop waited for a generation that was made known just now; it is used up."""
        ...

    def found_mail(self, letter: bytes) -> None:
        """A letter is kept for this replica. It is found again until it is taken."""
        ...

    def lapsed(self, replica: str) -> None:
        """Another replica's lease is over; it is said again until that one is buried or back."""
        ...

    def changed(self, *, is_up: bool) -> None:
        """The bus can be used from now on, or not any more."""
        ...


class Bus(GroupBus, Protocol):
    """One replica's way to the others. An id is exact, and means something for one identity only.

    What says `None` is queued and never waits; it is said again after the bus was away or lost what it knew. Whatever
    waits does so for a bounded time.
    """

    @property
    def replica(self) -> str:
        """This replica's name."""
        ...

    @property
    def place(self) -> str:
        """Where the bus is, for people; nothing of it is secret."""
        ...

    @property
    def is_up(self) -> bool:
        """Whether the bus can be used."""
        ...

    def now(self) -> float:
        """The bus's clock, in seconds: one for all replicas, whatever their own say."""
        ...

    async def open(self, inbox: Inbox) -> None:
        """Begin: hold the lease, and take what comes. A bus that can't be reached is tried again."""
        ...

    def own(self, owned: Owned) -> None:
        """Make known that this replica runs a generation. A stop that waits for it is found."""
        ...

    def alias(self, uid: str, any_id: str, about: bytes) -> None:
        """An owned generation has one more id."""
        ...

    def release(self, uid: str, about: bytes) -> None:
        """An owned generation is over. Its ids are known for some time yet."""
        ...

    async def find(self, identity: str, any_id: str) -> Place | None:
        """Where the generation is that an id names.

        What lives goes before what is over, a task id before an alias, the newer one before the older; an alias of
        several that live names none.

        Raises:
            BusUnavailableError: it can't be asked now.
        """
        ...

    async def knows_all(self) -> bool:
        """Whether every replica has had the time to make its ids known since the directory was last empty.

        Never while there are `strangers`.

        Raises:
            BusUnavailableError: it can't be asked now.
        """
        ...

    async def is_alive(self, replica: str) -> bool:
        """Whether a replica holds its lease.

        Raises:
            BusUnavailableError: it can't be asked now.
        """
        ...

    async def stop(self, place: Place, kept: KeptStop | None, sent: bytes) -> int | None:
        """Keep a letter, if one is given, for the owner of what lives, and send it one in the same step.

        Those that are kept for a generation already stay as they are.

        Gives how many listen on the owner's channel, as far as the server asked can tell; None: that generation is
        not known any more, so look again.

        Raises:
            BusUnavailableError: it may not have been sent.
        """
        ...

    def withdraw(self, identity: str, uid: str, number: str) -> None:
        """A kept stop of an identity's generation was followed, or refused: it is kept no longer."""
        ...

    async def leave_stop(self, identity: str, any_id: str, user: str | None, letter: bytes) -> bool:
        """Let a stop wait for a generation with this id, of this end user or (None) of any.

        False: something that lives has that id by now, so look again.

        Raises:
            BusUnavailableError: it may not wait there.
        """
        ...

    async def send(self, replica: str, letter: bytes) -> int:
        """Send a letter; gives how many listen, as `stop` does.

        Raises:
            BusUnavailableError: it may not have been sent.
        """
        ...

    def reply(self, replica: str, number: str, letter: bytes) -> None:
        """Send the answer to the letter with this number, and keep it for a short time."""
        ...

    async def find_reply(self, number: str) -> bytes | None:
        """The kept answer to a letter, if there is one.

        Raises:
            BusUnavailableError: it can't be asked now.
        """
        ...

    def drop_reply(self, number: str) -> None:
        """The answer to the letter with this number was read, and need not be kept any more."""
        ...

    async def ship(self, replica: str, parcel: bytes) -> None:
        """Put a parcel down for a replica, which keeps it for a short time; too many, and the oldest go.

        Raises:
            BusUnavailableError: it may not lie there.
        """
        ...

    async def collect(self) -> list[bytes]:
        """The parcels that lie there for this replica, oldest first, once there are any; none after a second.

        Each is given once as long as all goes well, else it may be given again. One at a time may wait here.

        Raises:
            BusUnavailableError: it can't be asked now.
        """
        ...

    async def close(self) -> None:
        """Say what is to be said yet, and give the lease back."""
        ...
