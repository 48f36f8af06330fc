"""Runs: what a dialect calls a run, a response or a turn. Decides, never waits.

A run holds several generations one after another (tool rounds), or none while it waits for the results of tools.
Stopping it stops the one that lives, or just changes its state.
"""

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from proxy.core.generation import Generation, Identity, Stop
from proxy.core.lifecycle import ASKED_FOR, RUN_AFTER, Outcome, RunState

if TYPE_CHECKING:
    from proxy.engine.relay import Relay

REMEMBERED_SECONDS: Final = 60.0
"""How long a run that is over is still known, so that repeating a stop gives the first answer again."""

WAITING_SECONDS: Final = 600.0
"""How long a run may wait for the results of tools."""


@dataclass(frozen=True, slots=True)
class Past:
    """What stays known of a run's generation when it is over. `stopped_at` is in monotonic seconds."""

    uid: str
    task_id: str
    message_id: str
    outcome: Outcome
    stop: Stop | None
    stopped_at: float | None


class Run:
    """One run. `key` is what its dialect calls it by; `notes` is the dialect's own.

    `on_left` is the dialect's too: awaited when the run ends although no generation of it ended so, because it was
    stopped while it waited for the results of tools (`STOPPED`), or because nobody brought them (`ENDED`).
    """

    __slots__ = (
        "changed",
        "identity",
        "key",
        "notes",
        "on_left",
        "past",
        "relay",
        "replaces",
        "started",
        "state",
        "stop",
        "stopped_at",
        "user",
    )

    def __init__(self, identity: Identity, key: str, user: str | None, now: float) -> None:
        self.identity = identity
        self.key = key
        self.user = user
        self.started = self.changed = now
        self.state = RunState.WORKING
        self.stop: Stop | None = None
        self.stopped_at: float | None = None
        self.relay: Relay | None = None
        """The generation that lives; kept no longer, because of all that hangs on it."""
        self.past: list[Past] = []
        self.notes: dict[str, Any] = {}
        self.on_left: Callable[[Run], Awaitable[None]] | None = None
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

    def has(self, any_id: str) -> bool:
        """Whether an id is that of one of its generations: a task id or a message id."""
        return any(any_id in (past.task_id, past.message_id) for past in self.past)

    def go(self, state: RunState, now: float) -> bool:
        """Go to a state if the table allows it; False: nothing changed."""
        if state not in RUN_AFTER[self.state]:
            return False
        self.state, self.changed = state, now
        return True

    def take(self, relay: "Relay") -> None:
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
        generation = None if self.relay is None else self.relay.generation
        if generation is None:
            self.go(RunState.ENDED, now)
            return False
        self.relay = None
        self.past.append(_past(generation))
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

    def undo(self, now: float) -> None:
        """A request that resumed the run came to no generation: it waits as before, or a stop came meanwhile."""
        if self.state is RunState.WORKING and self.relay is None:
            self.go(RunState.WAITING if self.stop is None else RunState.STOPPED, now)

    def _note(self, stop: Stop | None, now: float) -> None:
        if self.stop is None and stop is not None:
            self.stop, self.stopped_at = stop, now


def _wants_tools(generation: Generation) -> bool:
    return generation.outcome is Outcome.COMPLETED and bool(generation.partial.tool_calls())


def _past(generation: Generation) -> Past:
    facts = generation.facts
    return Past(facts.uid, facts.task_id, facts.message_id, generation.outcome, generation.stop, generation.stopped_at)


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

    def named(self, identity: str | None, any_id: str) -> list[Run]:
        """The runs that a stop by this id means: by their key, or waiting behind the generation with this id.

        `identity` None is the operator, who may mean anybody's.
        """
        found = self.find_anybodys(any_id) if identity is None else [self.find(identity, any_id)]
        if any(found):
            return [run for run in found if run is not None]
        waiting = (run for run in self._runs.values() if run.state is RunState.WAITING and run.has(any_id))
        return [run for run in waiting if identity in (None, run.identity.name)]

    def begin(self, identity: Identity, key: str, user: str | None, now: float) -> Run | None:
        """A new run, in place of one that is over or waits; None: one is working.

        One that waited ends with the first generation of the new one; its dialect, which begins that, knows, so
        `on_left` is not awaited.
        """
        found = self._runs.get((identity.name, key))
        if found is not None and found.state is RunState.WORKING:
            return None
        run = self._runs[identity.name, key] = Run(identity, key, user, now)
        run.replaces = found
        return run

    def resume(self, identity: Identity, key: str, now: float) -> Run | None:
        """The run that waits for the results of tools, working again; None: there is none."""
        run = self.find(identity.name, key)
        if run is None or run.state is not RunState.WAITING:
            return None
        run.go(RunState.WORKING, now)
        return run

    def forget(self, run: Run) -> None:
        """A run that never came to a generation: its key names again what it did before. A stop of it holds there."""
        at = run.identity.name, run.key
        if self._runs.get(at) is not run:
            return
        del self._runs[at]
        if (before := run.replaces) is not None:
            self._runs[at] = before
            if run.stop is not None and run.stopped_at is not None:
                before.request_stop(run.stop, run.stopped_at)

    def expire(self, now: float) -> list[Run]:
        """End runs that waited too long, and forget those that are over for long. Gives those that ended now."""
        left: list[Run] = []
        for at, run in list(self._runs.items()):
            if run.state is RunState.WAITING and now - run.changed > WAITING_SECONDS:
                run.go(RunState.ENDED, now)
                left.append(run)
            elif run.is_over and now - run.changed > REMEMBERED_SECONDS:
                del self._runs[at]
        return left
