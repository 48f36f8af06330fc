"""Tombstones: stops that came before their generation, kept for a short time. Decides, never waits."""

from collections import OrderedDict

from proxy.core.generation import Stop

TOMBSTONE_SECONDS = 10.0
TOMBSTONES_EACH = 1000
TOMBSTONES_ALL = 20_000
"""Callers without keys are as many as they claim to be, so all of them together are bounded too."""


class Tombstones:
    """The stops that wait, each for one id of one identity; where there are too many the oldest go."""

    def __init__(self) -> None:
        self._stops: OrderedDict[tuple[str, str], tuple[float, Stop, str | None]] = OrderedDict()
        self._ids_of: dict[str, OrderedDict[str, None]] = {}

    def __len__(self) -> int:
        return len(self._stops)

    def remember(self, identity: str, task_id: str, stop: Stop, now: float, user: str | None = None) -> None:
        """Keep a stop for an id not seen yet; it replaces one that waits for the same id.

        With `user` it only stops what that end user starts.
        """
        self._drop(identity, task_id)
        ids = self._ids_of.get(identity, ())
        if len(ids) >= TOMBSTONES_EACH:
            self._drop(identity, next(iter(ids)))
        if len(self._stops) >= TOMBSTONES_ALL:
            self._drop(*next(iter(self._stops)))
        self._stops[identity, task_id] = (now + TOMBSTONE_SECONDS, stop, user)
        self._ids_of.setdefault(identity, OrderedDict())[task_id] = None

    def take(self, identity: str, task_id: str, now: float, user: str | None = None) -> Stop | None:
        """The stop that waits for this id, if it is not too old; it is used up.

        One that is for another end user than `user` stays: it may still meet the generation that it means.
        """
        until, stop, meant = self._stops.get((identity, task_id), (now, None, None))
        if meant is not None and meant != user:
            return None
        self._drop(identity, task_id)
        return stop if until > now else None

    def expire(self, now: float) -> None:
        """Forget those that are too old."""
        while self._stops:
            key, (until, _, _) = next(iter(self._stops.items()))
            if until > now:
                return
            self._drop(*key)

    def _drop(self, identity: str, task_id: str) -> None:
        if self._stops.pop((identity, task_id), None) is None:
            return
        ids = self._ids_of[identity]
        del ids[task_id]
        if not ids:
            del self._ids_of[identity]
