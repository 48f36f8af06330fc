"""The port of what replicas count together: streams that run at once, and use within windows.

Numbers only, each with its replica's own entry: all of it may be lost at any time, and is said again by the replicas.
What says `Future` is queued at once and goes with what is queued beside it; a `BusUnavailableError` in it means that
the store could not be asked, or did not understand.
"""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from proxy.core.use import Window


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a wish for one more stream.

    `granted` None: what this replica had said is lost, so it must be said again first. `running` is how many run at all
    replicas, this one included if it was granted. `refused`: so many entries made no sense and were thrown away.
    """

    granted: bool | None
    running: int
    refused: int


@dataclass(frozen=True, slots=True)
class Asked:
    """One account's exchange: what is said of it, by replica, and for how many seconds it is to be known."""

    window: Window
    said: Mapping[str, bytes]
    seconds: float


@dataclass(frozen=True, slots=True)
class Told:
    """What stands at an account. `refused`: so many entries were none, and were thrown away."""

    entries: Mapping[bytes, bytes]
    refused: int = 0


class SharedNumbers(Protocol):
    """One replica's view of the numbers that all share. Streams are known by numbers of this process."""

    async def open(self) -> None:
        """Begin. What is asked before the store can be reached fails."""
        ...

    def mark(self) -> "asyncio.Future[str]":
        """A mark that is another one once the store has lost what it knew."""
        ...

    def take(self, identity: str, number: int, most: int, known: int) -> "asyncio.Future[Taken]":
        """Let one more stream of a caller run, if fewer than `most` do at all replicas that are alive.

        `known`: so many of ours at least must be known there, or it is not granted.
        """
        ...

    def free(self, identity: str, number: int) -> "asyncio.Future[None]":
        """A stream runs no more, or never did; nobody needs to wait for this."""
        ...

    def keep(self, identity: str) -> "asyncio.Future[int]":
        """This replica lives: its streams count for one more lease. Gives how many are known."""
        ...

    def say(self, identity: str, numbers: Collection[int]) -> "asyncio.Future[None]":
        """These streams of a caller run here, and no others."""
        ...

    def group(self, window: Window) -> str:
        """Accounts of one group may be exchanged in one step."""
        ...

    def exchange(self, asked: Sequence[Asked], *, first: bool) -> "asyncio.Future[list[Told]]":
        """Say what this replica knows of accounts of one group, and hear what all have said.

        `first`: a start waits for it.
        """
        ...

    async def close(self) -> None:
        """Let go of the connections. What runs here counts until the lease is over."""
        ...
