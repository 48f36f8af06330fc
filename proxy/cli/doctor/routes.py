"""The routes of the proxy, as its config tells them."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

DEFAULT: Final = "/v1"
"""Where nothing is known."""

SERVES: Final = "openai"
"""The dialect in which the checks are made."""


class Routes:
    """Routes by their paths; none where they are not known."""

    def __init__(self, routes: Iterable[Mapping[str, Any]], upstreams: Mapping[str, Mapping[str, Any]]) -> None:
        self._routes, self._upstreams = list(routes), upstreams

    @property
    def paths(self) -> list[str]:
        """All of them."""
        return [str(each["path"]) for each in self._routes]

    @property
    def serving(self) -> list[str]:
        """The paths of those that take the calls made here."""
        return [str(each["path"]) for each in self._routes if SERVES in _dialects(each)]

    def chosen(self, wanted: str | None, prefix: str) -> str:
        """The path behind the front's address: the one that was named, or else the first that serves, or the usual one.

        An address that has a path itself is a route's whole address.
        """
        if wanted is not None or prefix:
            return (wanted or "").rstrip("/")
        return (self.serving[0] if self.serving else DEFAULT).rstrip("/")

    def on_disconnect(self, address: str) -> str | None:
        """What the route does when its client leaves; a front may have put something before its path."""
        told = self._at(address).get("on_disconnect")
        return None if told is None else str(told)

    def on_stop(self, address: str) -> str | None:
        """What a stop does at the route's upstream."""
        told = self._upstreams.get(str(self._at(address).get("upstream")), {}).get("on_stop")
        return None if told is None else str(told)

    def other_dialects(self, address: str) -> list[str]:
        """What a route speaks that does not speak ours; nothing if it does, or if that is not known."""
        spoken = _dialects(self._at(address))
        return [] if SERVES in spoken else spoken

    def _at(self, address: str) -> Mapping[str, Any]:
        found = [each for each in self._routes if address.endswith(str(each["path"]).rstrip("/"))]
        return max(found, key=lambda each: len(str(each["path"])), default={})


def _dialects(route: Mapping[str, Any]) -> list[str]:
    given = route.get("dialect") or []
    return [given] if isinstance(given, str) else list(given)
