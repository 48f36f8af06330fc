"""Runs: what a dialect calls a run, a response or a turn. Decides, never waits.

A run holds several generations one after another (tool rounds), or none while it waits for the results of tools.
Stopping it stops the one that lives, or just changes its state.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from proxy.core.generation import Identity, Stop
from proxy.core.lifecycle import RUN_AFTER, Outcome, RunState

if TYPE_CHECKING:
    from proxy.engine.relay import Relay

REMEMBERED_SECONDS = 60.0
"""How long a run that is over is still known, so that repeating a stop gives the first answer again."""

WAITING_SECONDS = 600.0
"""How long a run may wait for the results of tools."""


class Run:
    """One run. `key` is what its dialect calls it by; `notes` is the dialect's own."""

    __slots__ = ("changed", "identity", "key", "notes", "relay", "started", "state", "stop", "user")

    def __init__(self, identity: Identity, key: str, user: str | None, now: float) -> None:
        self.identity = identity
        self.key = key
        self.user = user
        self.started = self.changed = now
        self.state = RunState.WORKING
        self.stop: Stop | None = None
        self.relay: Relay | None = None
        self.notes: dict[str, Any] = {}

    @property
    def is_over(self) -> bool:
        """Whether nothing can follow."""
        return not RUN_AFTER[self.state]

    def go(self, state: RunState, now: float) -> bool:
        """Go to a state if the table allows it; False: nothing changed."""
        if state not in RUN_AFTER[self.state]:
            return False
        self.state, self.changed = state, now
        return True

    def take(self, relay: "Relay") -> None:
        """The run's next generation. A stop that came before it stops it at once."""
        self.relay = relay
        if self.stop is not None:
            relay.stop(self.stop)

    def request_stop(self, stop: Stop, now: float) -> bool:
        """Stop what lives, or what waits; True if this stop took effect."""
        if self.stop is not None or self.is_over:
            return False
        if self.relay is not None and self.state is RunState.WORKING and not self.relay.stop(stop):
            return False
        self.stop = stop
        if self.state is RunState.WAITING:
            self.go(RunState.STOPPED, now)
        return True

    def settled(self, now: float, *, waits: bool) -> None:
        """Its generation is over; `waits`: it ended with calls of tools whose results are to come."""
        outcome = Outcome.FAILED if self.relay is None else self.relay.generation.outcome
        if self.stop is not None or outcome in (Outcome.CANCELLED, Outcome.CLIENT_GONE):
            self.go(RunState.STOPPED, now)
        else:
            self.go(RunState.WAITING if waits and outcome is Outcome.COMPLETED else RunState.ENDED, now)


class Runs:
    """The runs of this replica: the newest of each key of each caller."""

    def __init__(self) -> None:
        self._runs: dict[tuple[str, str], Run] = {}

    def __iter__(self) -> Iterator[Run]:
        return iter(list(self._runs.values()))

    def find(self, identity: str, key: str) -> Run | None:
        """A caller's run, live or over a short time ago."""
        return self._runs.get((identity, key))

    def find_anybodys(self, key: str) -> list[Run]:
        """Whoever's runs have that key."""
        return [run for (_, name), run in self._runs.items() if name == key]

    def begin(self, identity: Identity, key: str, user: str | None, now: float) -> Run | None:
        """A new run, in place of one that is over; None: one is working."""
        found = self._runs.get((identity.name, key))
        if found is not None and found.state is RunState.WORKING:
            return None
        if found is not None:
            found.go(RunState.ENDED, now)
        run = self._runs[identity.name, key] = Run(identity, key, user, now)
        return run

    def resume(self, identity: Identity, key: str, now: float) -> Run | None:
        """The run that waits for the results of tools, working again; None: there is none."""
        run = self.find(identity.name, key)
        return run if run is not None and run.go(RunState.WORKING, now) else None

    def forget(self, run: Run) -> None:
        """A run that never came to a generation."""
        if self._runs.get((run.identity.name, run.key)) is run:
            del self._runs[run.identity.name, run.key]

    def expire(self, now: float) -> None:
        """End runs that waited too long, and forget those that are over for long."""
        for at, run in list(self._runs.items()):
            if run.state is RunState.WAITING and now - run.changed > WAITING_SECONDS:
                run.go(RunState.ENDED, now)
            elif run.is_over and now - run.changed > REMEMBERED_SECONDS:
                del self._runs[at]
