"""Runs: what a dialect calls a run, a response or a turn. Decides, never waits.

A run holds several generations one after another (tool rounds), or none while it waits for the results of tools.
Stopping it stops the one that lives, or just changes its state.
"""

from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from proxy.core.generation import Generation, Identity, Stop
from proxy.core.lifecycle import ASKED_FOR, RUN_AFTER, Outcome, RunState
from proxy.engine.remembered_runs import Names, Remembered

if TYPE_CHECKING:
    from proxy.engine.relay import Relay

REMEMBERED_SECONDS: Final = 60.0
"""How long a run that is over is still known, so that repeating a stop gives the first answer again."""

WAITING_SECONDS: Final = 600.0
"""How long a run may wait for the results of tools."""

MOST: Final = 10_000
MOST_OF_ONE: Final = 5_000
"""Runs that don't work and are known all the same, in all and of one caller. Beyond it some go early, those first that
are over: a stop of them finds nothing, and results of tools for one that waited begin a new run."""


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
    stopped while it waited for the results of tools (`STOPPED`), or because nobody brought them (`ENDED`). It is
    awaited again when somebody asks for an end that could not be written, see `LeftRuns`.

    `on_change` is told of each new state.
    """

    __slots__ = (
        "changed",
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
        self.relay: Relay | None = None
        """The generation that lives; kept no longer, because of all that hangs on it."""
        self.past: list[Past] = []
        self.notes: dict[str, Any] = {}
        self.on_left: Callable[[Run], Awaitable[None]] | None = None
        self.on_change = on_change
        self.is_written = True
        """Whether the stores have what its last end, if any, made of it."""
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


class Runs:
    """The runs of this replica: the newest of each key of each caller."""

    def __init__(self, most: int = MOST, most_of_one: int = MOST_OF_ONE) -> None:
        self._runs = Names()
        self._past = Names()  # by the ids of their generations: those that wait, and some that did
        self._remembered = Remembered(most, most_of_one)
        self._left: list[Run] = []

    def __iter__(self) -> Iterator[Run]:
        return iter(self._runs.everything())

    def find(self, identity: str, key: str) -> Run | None:
        """A caller's run, live or over a short time ago."""
        return self._runs.get(identity, key)

    def find_anybodys(self, key: str) -> list[Run]:
        """Whoever's runs have that key."""
        return self._runs.all(key)

    def keyed(self, identity: str | None, key: str) -> list[Run]:
        """The runs with that key; `identity` None is the operator, who may mean anybody's."""
        return _of(self._runs, identity, key)

    def behind(self, identity: str | None, any_id: str) -> list[Run]:
        """The runs that wait behind a generation with this id; not when a newer one of the caller's has it."""
        found = _of(self._past, identity, any_id)
        return [run for run in found if run.state is RunState.WAITING and self._is_current(run)]

    def renamed(self, identity: str, ids: Iterable[str]) -> None:
        """These ids name a new generation from now on, and no run that waits behind an older one."""
        for any_id in ids:
            self._past.drop(identity, any_id)

    def begin(self, identity: Identity, key: str, user: str | None, now: float) -> Run | None:
        """A new run, in place of one that is over or waits; None: one is working.

        One that waited ends with the first generation of the new one; its dialect, which begins that, knows, so
        `on_left` is not awaited.
        """
        found = self._runs.get(identity.name, key)
        if found is not None and found.state is RunState.WORKING:
            return None
        run = Run(identity, key, user, now, self._changed)
        run.replaces = found
        self._runs.put(identity.name, key, run)
        if found is not None:
            self._remembered.drop(found)
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
        if not self._is_current(run):
            return
        self._let_go(run)
        if (before := run.replaces) is not None:
            self._runs.put(before.identity.name, before.key, before)
            self._changed(before)
            if run.stop is not None and run.stopped_at is not None:
                before.request_stop(run.stop, run.stopped_at)

    def expire(self, now: float) -> list[Run]:
        """End runs that waited too long, and forget those that are over for long. Gives those that ended early."""
        left, self._left = self._left, []
        for run in self._remembered.take_due(now):
            if run.go(RunState.ENDED, now):
                left.append(run)
            else:
                self._let_go(run)
        return left

    def _is_current(self, run: Run) -> bool:
        return self._runs.get(run.identity.name, run.key) is run

    def _changed(self, run: Run) -> None:
        """A run has a new state, or is known again."""
        name = run.identity.name
        self._remembered.drop(run)
        if run.is_over:
            self._forget_past(run)
        elif run.state is RunState.WAITING:
            for any_id in (any_id for past in run.past[-1:] for any_id in past.ids):
                self._past.put(name, any_id, run)
        if run.state is RunState.WORKING or not self._is_current(run):
            return
        until = run.changed + REMEMBERED_SECONDS if run.is_over else run.latest
        self._remembered.put(run, until)
        while (gone := self._remembered.one_too_many(name)) is not None:
            self._let_go(gone)
            if gone.go(RunState.ENDED, run.changed):
                self._left.append(gone)

    def _let_go(self, run: Run) -> None:
        self._remembered.drop(run)
        self._forget_past(run)
        self._runs.drop(run.identity.name, run.key, run)

    def _forget_past(self, run: Run) -> None:
        for past in run.past:
            for any_id in past.ids:
                self._past.drop(run.identity.name, any_id, run)


def _of(names: Names, identity: str | None, any_id: str) -> list[Run]:
    """What an id names, for a caller or for anybody."""
    if identity is None:
        return names.all(any_id)
    found = names.get(identity, any_id)
    return [] if found is None else [found]
