"""A run: what a dialect calls a run, a response or a turn. Decides, never waits.

A run holds several generations one after another (tool rounds), or none while it waits for the results of tools.
Stopping it stops the one that lives, or just changes its state.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

from proxy.core.generation import Generation, Identity, Stop
from proxy.core.lifecycle import ASKED_FOR, RUN_AFTER, Outcome, RunState

WAITING_SECONDS: Final = 600.0
"""How long a run may wait for the results of tools."""


class HasAliases(Protocol):
    """A plan, as a run sees it."""

    @property
    def aliases(self) -> tuple[str, ...]:
        """By what else its generation can be stopped."""
        ...


class AtWork(Protocol):
    """A generation at work, as its run sees it: a relay."""

    @property
    def generation(self) -> Generation:
        """What is at work."""
        ...

    @property
    def plan(self) -> HasAliases:
        """What it was made from."""
        ...

    @property
    def released(self) -> "asyncio.Future[None]":
        """Done when nothing of it is to be waited for any more."""
        ...

    def stop(self, stop: Stop) -> bool:
        """End it now; True if this is the stop that took effect."""
        ...


@dataclass(frozen=True, slots=True)
class Past:
    """What stays known of a run's generation when it is over. `stopped_at` is in monotonic seconds.

    `aliases` are what else it is called by.
    """

    uid: str
    task_id: str
    message_id: str
    outcome: Outcome
    stop: Stop | None
    stopped_at: float | None
    aliases: tuple[str, ...] = ()

    @property
    def ids(self) -> tuple[str, ...]:
        """What it can be called by."""
        return self.task_id, self.message_id, *self.aliases


class Run:
    """One run. `key` is what its dialect calls it by; `notes` is the dialect's own.

    `waits_until`, in monotonic seconds, bounds its waiting for the results of tools; None: `WAITING_SECONDS` do.

    `on_left` is the dialect's too: awaited when the run ends although no generation of it ended so, because it was
    stopped while it waited for the results of tools (`STOPPED`), or because nobody brought them, or the dialect ended
    it then (`ENDED`). It is awaited again when somebody asks for an end that could not be written, see `LeftRuns`.

    `on_change` is told of each new state. `holds_waiting`: while it waits nobody else may work on what it works on.
    """

    __slots__ = (
        "changed",
        "held",
        "holds_waiting",
        "identity",
        "is_written",
        "key",
        "notes",
        "on_change",
        "on_left",
        "past",
        "relay",
        "replaces",
        "started",
        "state",
        "stop",
        "stopped_at",
        "user",
        "waits_until",
    )

    def __init__(
        self,
        identity: Identity,
        key: str,
        user: str | None,
        now: float,
        on_change: "Callable[[Run], None] | None" = None,
    ) -> None:
        self.identity = identity
        self.key = key
        self.user = user
        self.started = self.changed = now
        self.state = RunState.WORKING
        self.stop: Stop | None = None
        self.stopped_at: float | None = None
        self.relay: AtWork | None = None
        """The generation that lives; kept no longer, because of all that hangs on it."""
        self.past: list[Past] = []
        self.notes: dict[str, Any] = {}
        self.held = 0
        """Characters that it keeps in memory, see `Runs.hold`."""
        self.on_left: Callable[[Run], Awaitable[None]] | None = None
        self.on_change = on_change
        self.is_written = True
        """Whether the stores have what its last end, if any, made of it."""
        self.holds_waiting = False
        self.waits_until: float | None = None
        self.replaces: Run | None = None
        """What its key named before; that comes back when no generation comes of this one."""

    @property
    def is_over(self) -> bool:
        """Whether nothing can follow."""
        return not RUN_AFTER[self.state]

    @property
    def is_ending(self) -> bool:
        """Whether its generation is over or being stopped, and only not settled yet."""
        if self.relay is None:
            return False
        generation = self.relay.generation
        return generation.stop is not None or generation.outcome is not Outcome.RUNNING

    def has(self, uid: str) -> bool:
        """Whether a generation, by its `uid`, was one of its own."""
        return any(past.uid == uid for past in self.past)

    @property
    def latest(self) -> float:
        """Until when the results of tools may come, in monotonic seconds."""
        return self.changed + WAITING_SECONDS if self.waits_until is None else self.waits_until

    def go(self, state: RunState, now: float) -> bool:
        """Go to a state if the table allows it; False: nothing changed."""
        if state not in RUN_AFTER[self.state]:
            return False
        self.state, self.changed = state, now
        if self.on_change is not None:
            self.on_change(self)
        return True

    def take(self, relay: AtWork) -> None:
        """The run's next generation. A stop that came before it stops it at once."""
        self.relay = relay
        if self.replaces is not None:
            self.replaces.go(RunState.ENDED, relay.generation.facts.started)
            self.replaces = None
        if self.stop is not None:
            relay.stop(self.stop)

    def request_stop(self, stop: Stop, now: float) -> bool:
        """Stop what lives, or what waits; True if this stop took effect.

        A generation that is complete can't be stopped any more, but one that ended with calls of tools leaves a run
        that can.
        """
        if self.stop is not None or self.is_over:
            return False
        relay = self.relay
        if relay is not None and not relay.stop(stop) and not _wants_tools(relay.generation):
            return False
        self._note(stop, now)
        if self.state is RunState.WAITING:
            self.go(RunState.STOPPED, now)
        return True

    def settled(self, now: float, *, waits: bool) -> bool:
        """Its generation is over; `waits`: it ended with calls of tools whose results are to come.

        True: the run ends with this, stopped, although the generation was not: `on_left` is to be awaited.
        """
        relay, self.relay = self.relay, None
        if relay is None:
            self.go(RunState.ENDED, now)
            return False
        generation = relay.generation
        self.past.append(_past(generation, relay.plan.aliases))
        stop = generation.stop
        if generation.outcome in (Outcome.CANCELLED, Outcome.CLIENT_GONE):
            self._note(stop, generation.stopped_at or now)
            self.go(RunState.STOPPED, now)
            return False
        if generation.outcome is not Outcome.COMPLETED or not waits:
            self.go(RunState.ENDED, now)
            return False
        if stop is not None and stop.cause in ASKED_FOR:  # it came a moment too late for the generation
            self._note(stop, generation.stopped_at or now)
        self.go(RunState.WAITING if self.stop is None else RunState.STOPPED, now)
        return self.stop is not None

    def undo(self, now: float) -> bool:
        """A request that resumed the run came to no generation: it waits as before.

        True: a stop came meanwhile, and the run ends with this: `on_left` is to be awaited.
        """
        if self.state is not RunState.WORKING or self.relay is not None:
            return False
        self.go(RunState.WAITING if self.stop is None else RunState.STOPPED, now)
        return self.stop is not None

    def _note(self, stop: Stop | None, now: float) -> None:
        if self.stop is None and stop is not None:
            self.stop, self.stopped_at = stop, now


def _wants_tools(generation: Generation) -> bool:
    return generation.outcome is Outcome.COMPLETED and bool(generation.partial.tool_calls())


def _past(generation: Generation, aliases: tuple[str, ...]) -> Past:
    facts, stop, at = generation.facts, generation.stop, generation.stopped_at
    return Past(facts.uid, facts.task_id, facts.message_id, generation.outcome, stop, at, aliases)
