"""Which route takes a path: the longest one that is the path or ends at one of its slashes."""

from collections.abc import Sequence
from typing import NamedTuple

from proxy.core.settings.route import RouteSettings


class RouteMatch(NamedTuple):
    """The route that takes a path, and the rest of the path behind the route's own (empty, or with a slash first)."""

    route: RouteSettings
    rest: str


class RouteTable:
    """The routes by path, built once. A match costs one look-up per segment, up to the deepest route's depth."""

    def __init__(self, routes: Sequence[RouteSettings]) -> None:
        self._by_path = {route.path.rstrip("/"): route for route in reversed(routes)}
        self._depth = max((path.count("/") for path in self._by_path), default=0)

    def match(self, path: str) -> RouteMatch | None:
        """The longest route of a request path, or None. `path` starts with a slash and has no query.

        Segments are compared as they stand: /v1 takes /v1 and /v1/models, neither /v1x nor /V1.
        """
        segments = path.split("/", self._depth + 1)
        for taken in range(min(len(segments), self._depth + 1), 0, -1):
            prefix = "/".join(segments[:taken])
            route = self._by_path.get(prefix)
            if route is not None:
                return RouteMatch(route, path[len(prefix) :])
        return None
