"""The runs of a replica: found by their keys and by the ids of their generations, ended in time, forgotten later."""

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from proxy.core.generation import Identity
from proxy.core.lifecycle import RunState
from proxy.engine.translating.remembered_runs import Held, Names, Remembered
from proxy.engine.translating.run import Run

REMEMBERED_SECONDS: Final = 60.0
"""How long a run that is over is still known, so that repeating a stop gives the first answer again."""

MOST: Final = 10_000
MOST_OF_ONE: Final = 5_000
"""Runs that don't work and are known all the same, in all and of one caller. Beyond it some go early, those first that
are over: a stop of them finds nothing, and results of tools for one that waited begin a new run."""

MOST_HELD: Final = 256 * 2**20
MOST_HELD_OF_ONE: Final = 128 * 2**20
"""Characters that runs hold in memory, in all and of one caller. Beyond it new ones are refused, and old ones stay."""


class Runs:
    """The runs of this replica: the newest of each key of each caller."""

    def __init__(
        self,
        most: int = MOST,
        most_of_one: int = MOST_OF_ONE,
        most_held: int = MOST_HELD,
        most_held_of_one: int = MOST_HELD_OF_ONE,
    ) -> None:
        self._runs = Names()
        self._past = Names()  # by the ids of their generations: those that wait, and some that did
        self._remembered = Remembered(most, most_of_one)
        self._held = Held(most_held, most_held_of_one)
        self._left: list[Run] = []
        self.on_change: Callable[[Run], None] | None = None
        """Told of every new state of a run."""

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
            self._held.drop(found)
        return run

    def resume(self, identity: Identity, key: str, now: float) -> Run | None:
        """The run that waits for the results of tools, working again; None: there is none."""
        run = self.find(identity.name, key)
        if run is None or run.state is not RunState.WAITING:
            return None
        run.go(RunState.WORKING, now)
        return run

    def hold(self, run: Run, characters: int) -> bool:
        """Let a run hold so many characters in memory, all in all; False: they are too many, and it holds what it did.

        Where that is enough, runs of its caller's that are over make room.
        """
        if (lacking := self._held.lacking(run, characters)) > 0:
            over = self._remembered.over(run.identity.name)
            if lacking > sum(each.held for each in over):
                return False
            for each in over:
                self._let_go(each)
                lacking -= each.held
                if lacking <= 0:
                    break
        self._held.drop(run)
        run.held = characters
        self._held.put(run)
        return True

    def forget(self, run: Run) -> None:
        """A run that never came to a generation: its key names again what it did before. A stop of it holds there."""
        if not self._is_current(run):
            return
        self._let_go(run)
        if (before := run.replaces) is not None:
            self._runs.put(before.identity.name, before.key, before)
            self._held.put(before)
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
        if self.on_change is not None:
            self.on_change(run)
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
        self._held.drop(run)
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
