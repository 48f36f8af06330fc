"""Streams that count over all replicas: for callers whose key has a limit, each is known to the others by a number."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count

from proxy.engine.registry import Registry
from proxy.engine.relaying.relay import Relay
from proxy.stores.bus.shared import SharedNumbers


@dataclass(slots=True)
class _Held:
    """What runs here of one caller. `is_said`: the others know all of it.

    `asking`: wishes that are on their way. `presumed`: those that the others were told of, granted or not.
    """

    numbers: set[int] = field(default_factory=set)
    asking: set[int] = field(default_factory=set)
    presumed: set[int] = field(default_factory=set)
    is_said: bool = False


class SharedStreams:
    """One per process. `refused` is told of entries that made no sense."""

    def __init__(self, numbers: SharedNumbers, registry: Registry, refused: Callable[[int], None]) -> None:
        self._shared = numbers
        self._registry = registry
        self._refused = refused
        self._held: dict[str, _Held] = {}
        self._of: dict[str, tuple[str, int]] = {}
        self._next = count(1)

    @property
    def any(self) -> bool:
        """Whether anything has to be told to the others."""
        return bool(self._held)

    async def take(self, identity: str, most: int) -> int | None:
        """A number for one more stream; None: as many run at all replicas as may.

        Raises:
            BusUnavailableError: others can't be asked. Nothing was taken.
        """
        held = self._of_caller(identity)
        number = next(self._next)
        held.asking.add(number)
        granted: bool | None = None
        try:
            granted = await self._take(identity, held, number, most)
        finally:
            held.asking.discard(number)
            if granted:
                held.numbers.add(number)
            elif granted is None or number in held.presumed:  # it may be known there all the same
                held.is_said = False
            held.presumed.discard(number)
        return number if granted else None

    async def _take(self, identity: str, held: _Held, number: int, most: int) -> bool:
        if not held.is_said:
            await self._say(identity, held)
        taken = await self._shared.take(identity, number, most, len(held.numbers))
        if taken.granted is None:  # somebody emptied it
            await self._say(identity, held)
            taken = await self._shared.take(identity, number, most, len(held.numbers))
        self._refused(taken.refused)
        return bool(taken.granted)

    def take_alone(self, identity: str) -> int:
        """A number for one more stream that the others are told of later."""
        held = self._of_caller(identity)
        held.is_said = False
        held.numbers.add(number := next(self._next))
        return number

    def began(self, relay: Relay, number: int) -> None:
        """The stream with this number is this generation."""
        facts = relay.generation.facts
        self._of[facts.uid] = facts.identity.name, number

    def left(self, relay: Relay) -> None:
        """A generation counts as its caller's no more."""
        if (known := self._of.pop(relay.generation.facts.uid, None)) is not None:
            self.give_back(*known)

    def give_back(self, identity: str, number: int) -> None:
        """The stream with this number is over, or came to nothing."""
        held = self._held[identity]
        held.numbers.discard(number)
        self._free(identity, held, number)

    def _free(self, identity: str, held: _Held, number: int) -> None:
        def freed(done: "asyncio.Future[None]") -> None:
            if done.cancelled() or done.exception() is not None:
                held.is_said = False

        self._shared.free(identity, number).add_done_callback(freed)

    def _of_caller(self, identity: str) -> _Held:
        """What is held of a caller, with what ran of it before its key was limited."""
        held = self._held.get(identity)
        if held is None:
            held = self._held[identity] = _Held()
            if self._registry.streams_of(identity):
                self._adopt(identity, held)
        return held

    def _adopt(self, identity: str, held: _Held) -> None:
        for relay in self._registry:
            facts = relay.generation.facts
            if facts.identity.name == identity and relay.read_on is None and facts.uid not in self._of:
                held.numbers.add(number := next(self._next))
                self._of[facts.uid] = identity, number

    # Beside the streams.

    def lost(self) -> None:
        """The others know nothing any more of what runs here."""
        for held in self._held.values():
            held.is_said = False

    async def say_unsaid(self) -> None:
        """Tell the others what they don't know.

        Raises:
            BusUnavailableError: they can't be told now.
        """
        for identity, held in list(self._held.items()):
            if not held.is_said and not held.asking:
                await self._say(identity, held)
            if held.is_said and not held.numbers and not held.asking:
                del self._held[identity]

    async def keep(self) -> None:
        """Renew the lease of what runs here; what the others have otherwise is said again by the next `say_unsaid`.

        Raises:
            BusUnavailableError: it may not be renewed.
        """
        kept = [(held, self._shared.keep(identity)) for identity, held in self._held.items() if held.numbers]
        counts = await asyncio.gather(*(asked for _, asked in kept))
        for (held, _), known in zip(kept, counts, strict=True):
            if known != len(held.numbers) and not held.asking:
                held.is_said = False

    async def _say(self, identity: str, held: _Held) -> None:
        held.is_said = True  # whatever changes from here on is told behind it
        held.presumed |= held.asking
        try:
            await self._shared.say(identity, held.numbers | held.asking)
        except BaseException:
            held.is_said = False
            raise
