"""Tombstones: stops that came before their generation, kept for a short time. Decides, never waits."""

from collections import OrderedDict

from proxy.core.generation import Stop

TOMBSTONE_SECONDS = 10.0
TOMBSTONES_EACH = 1000
TOMBSTONES_ALL = 20_000
"""Callers without keys are as many as they claim to be, so all of them together are bounded too."""

Key = tuple[str, str, str | None]
"""Identity, task id, and the end user who is meant; None: any."""


class Tombstones:
    """The stops that wait, each for one id of one identity; where there are too many the oldest go."""

    def __init__(self) -> None:
        self._stops: OrderedDict[Key, tuple[float, Stop]] = OrderedDict()
        self._keys_of: dict[str, OrderedDict[Key, None]] = {}

    def __len__(self) -> int:
        return len(self._stops)

    def remember(self, identity: str, task_id: str, stop: Stop, now: float, user: str | None = None) -> None:
        """Keep a stop for an id not seen yet; it replaces one that waits for the same id of the same end user.

        With `user` it only stops what that end user starts.
        """
        key = (identity, task_id, user)
        self._drop(key)
        keys = self._keys_of.get(identity, ())
        if len(keys) >= TOMBSTONES_EACH:
            self._drop(next(iter(keys)))
        if len(self._stops) >= TOMBSTONES_ALL:
            self._drop(next(iter(self._stops)))
        self._stops[key] = (now + TOMBSTONE_SECONDS, stop)
        self._keys_of.setdefault(identity, OrderedDict())[key] = None

    def take(self, identity: str, task_id: str, now: float, user: str | None = None) -> Stop | None:
        """The stop that waits for this id of this end user, or of anybody's, if it is not too old; it is used up."""
        for whose in dict.fromkeys((user, None)):
            until, stop = self._stops.get((identity, task_id, whose), (now, None))
            self._drop((identity, task_id, whose))
            if until > now:
                return stop
        return None

    def expire(self, now: float) -> None:
        """Forget those that are too old."""
        while self._stops:
            key, (until, _) = next(iter(self._stops.items()))
            if until > now:
                return
            self._drop(key)

    def _drop(self, key: Key) -> None:
        if self._stops.pop(key, None) is None:
            return
        keys = self._keys_of[key[0]]
        del keys[key]
        if not keys:
            del self._keys_of[key[0]]
