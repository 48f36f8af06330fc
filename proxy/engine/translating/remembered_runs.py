"""Names of runs, the order in which those that don't work are forgotten, and what all hold. Decides nothing."""

import heapq
from collections import Counter
from itertools import count

from proxy.engine.translating.run import Run

STALE_MOST = 1000
"""So many entries of the heap may be of runs that changed since, before it is made anew."""


class Names:
    """Which run an id names, for each caller."""

    def __init__(self) -> None:
        self._runs: dict[str, dict[str, Run]] = {}

    def get(self, identity: str, any_id: str) -> Run | None:
        """A caller's run."""
        return self._runs.get(any_id, {}).get(identity)

    def all(self, any_id: str) -> list[Run]:
        """Whoever's runs have that id."""
        return list(self._runs.get(any_id, {}).values())

    def everything(self) -> list[Run]:
        """All runs."""
        return [run for runs in self._runs.values() for run in runs.values()]

    def put(self, identity: str, any_id: str, run: Run) -> None:
        """Let an id name this run."""
        self._runs.setdefault(any_id, {})[identity] = run

    def drop(self, identity: str, any_id: str, run: Run | None = None) -> None:
        """Let an id name nothing; with `run` only if it names that one."""
        runs = self._runs.get(any_id, {})
        if identity in runs and run in (None, runs[identity]):
            del runs[identity]
            if not runs:
                del self._runs[any_id]


class Remembered:
    """Runs that don't work, each until its time is over, and no more than `most`, nor `most_of_one` of one caller."""

    def __init__(self, most: int, most_of_one: int) -> None:
        self._most = most
        self._most_of_one = most_of_one
        self._due: list[tuple[float, int]] = []
        self._numbers = count()
        self._runs: dict[int, Run] = {}
        self._places: dict[Run, tuple[int, bool]] = {}
        self._of: dict[tuple[str, bool], dict[Run, None]] = {}  # of each caller, over or not; oldest change first

    def put(self, run: Run, until: float) -> None:
        """Remember a run as it is now until then."""
        self.drop(run)
        place = next(self._numbers), run.is_over
        heapq.heappush(self._due, (until, place[0]))
        self._runs[place[0]] = run
        self._places[run] = place
        self._of.setdefault((run.identity.name, run.is_over), {})[run] = None

    def drop(self, run: Run) -> None:
        """Forget a run."""
        if (place := self._places.pop(run, None)) is None:
            return
        number, is_over = place
        del self._runs[number]
        at = run.identity.name, is_over
        del self._of[at][run]
        if not self._of[at]:
            del self._of[at]
        if len(self._due) > 2 * len(self._runs) + STALE_MOST:
            self._due = [entry for entry in self._due if entry[1] in self._runs]
            heapq.heapify(self._due)

    def take_due(self, now: float) -> list[Run]:
        """Take out those whose time is over."""
        found: list[Run] = []
        while self._due and self._due[0][0] < now:
            _, number = heapq.heappop(self._due)
            if (run := self._runs.get(number)) is not None:
                self.drop(run)
                found.append(run)
        return found

    def over(self, identity: str) -> list[Run]:
        """A caller's runs that are over, the one first that has been so for longest."""
        return list(self._of.get((identity, True), ()))

    def one_too_many(self, identity: str) -> Run | None:
        """The run that has to go early, of this caller or in all: one that is over, if there is any."""
        over, others = self._of.get((identity, True), {}), self._of.get((identity, False), {})
        if len(over) + len(others) > self._most_of_one:
            return next(iter(over or others))
        if len(self._runs) <= self._most:
            return None
        while (number := self._due[0][1]) not in self._runs:
            heapq.heappop(self._due)
        return self._runs[number]


class Held:
    """The characters that runs hold in memory (`Run.held`): no more than `most`, nor `most_of_one` of one caller."""

    def __init__(self, most: int, most_of_one: int) -> None:
        self._most = most
        self._most_of_one = most_of_one
        self._runs: set[Run] = set()
        self._all = 0
        self._of: Counter[str] = Counter()

    def lacking(self, run: Run, characters: int) -> int:
        """How many must go so that a run may hold so many; 0 or less: none. Fewer than it does it always may."""
        more = characters - (run.held if run in self._runs else 0)
        if more <= 0:
            return 0
        return more + max(self._all - self._most, self._of[run.identity.name] - self._most_of_one)

    def put(self, run: Run) -> None:
        """Count what a run holds."""
        if run not in self._runs:
            self._runs.add(run)
            self._add(run.identity.name, run.held)

    def drop(self, run: Run) -> None:
        """Count it no longer."""
        if run in self._runs:
            self._runs.remove(run)
            self._add(run.identity.name, -run.held)

    def _add(self, identity: str, characters: int) -> None:
        self._all += characters
        self._of[identity] += characters
        if not self._of[identity]:
            del self._of[identity]
