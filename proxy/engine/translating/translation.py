"""What a translated dialect is to the engine: an upstream's deltas go in, the dialect's own events come out.

A translation belongs to one generation. It is pure: no I/O, no clock, no HTTP; whoever drives it passes the time in.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from proxy.core.conversation import Item, Message, MessageStatus, Thread
from proxy.core.deltas import Delta
from proxy.core.errors import Refusal
from proxy.core.generation import Facts, Priced
from proxy.core.lifecycle import Cause, Outcome
from proxy.core.partial import Partial
from proxy.core.usage import Usage


@dataclass(frozen=True, slots=True)
class KeepAlive:
    """What a reader is sent so that it knows we are there: `frame`, every `every` seconds.

    `idle`: only after so long without an event; else by the clock. It is not kept: who reads later gets none of it.
    """

    every: float
    frame: bytes
    idle: bool = True


@dataclass(frozen=True, slots=True)
class Over:
    """How a generation ended.

    `refusal` says what went wrong, None when it is complete or was stopped after it began. `elapsed` is seconds from
    admission to the stop, else to the end; `wall` the end, in seconds since the epoch. `priced` is what it costs.
    """

    outcome: Outcome
    cause: Cause | None
    refusal: Refusal | None
    usage: Usage
    partial: Partial
    elapsed: float
    wall: float
    priced: Priced = field(default_factory=Priced)

    @property
    def is_stopped(self) -> bool:
        """Whether a stop, by whoever it was, ended it."""
        return self.cause is not None


@dataclass(frozen=True, slots=True)
class Stored:
    """What becomes of the answer in the conversation store.

    `drops`: ids of messages that go away instead; then the text leaves the record and the tape too. `items` are put
    in, or changed where they are there already.
    """

    status: MessageStatus
    text: str
    content: Any = None
    metadata: dict[str, Any] | None = None
    drops: tuple[str, ...] = ()
    items: tuple[Item, ...] = ()


@dataclass(frozen=True, slots=True)
class Kept:
    """What a call puts into the conversation store: on disk before its client's first byte.

    `answer` is the message that grows, in progress at first; `before` goes in ahead of it; `thread` is a new one.
    `items` are put in, or changed where they are there already.
    """

    answer: Message
    before: tuple[Message, ...] = ()
    thread: Thread | None = None
    items: tuple[Item, ...] = ()


class Translation(Protocol):
    """One generation in the words of its dialect. `now` is seconds since the epoch."""

    @property
    def keep_alive(self) -> KeepAlive | None:
        """What a quiet stream's readers are sent; None: what the route says."""
        ...

    def begin(self, facts: Facts) -> bytes:
        """Called first. What is sent at once, before the upstream is called; b"" lets an upstream's refusal be ours."""
        ...

    def answered(self, now: float) -> bytes:
        """The upstream has accepted the call."""
        ...

    def deltas(self, deltas: Sequence[Delta], now: float) -> bytes:
        """The events for what came, in order; the same however it was cut."""
        ...

    def ending(self, over: Over) -> bytes:
        """The events that end a stream, in every case: complete, stopped or failed."""
        ...

    def answer(self, over: Over) -> bytes:
        """The JSON of a blocking call that is complete."""
        ...

    def stored(self, over: Over) -> Stored | None:
        """What becomes of `Kept.answer`. Asked before `ending` and `answer`; what it decides, they say too."""
        ...
