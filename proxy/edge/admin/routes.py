"""The admin listener's paths: which methods each takes, which role it needs, and what serves it, as one table.

The table itself is in `table`; what is served, checked and documented of a path all comes from its row.
"""

import re
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote

from aiohttp import web

from proxy.core.roles import Role
from proxy.edge.runtime import Runtime

API: Final = "/api"
REST: Final = "path"
"""The name in a route's path that takes all segments that follow; every other one takes one segment."""

Answer = dict[str, Any] | web.StreamResponse
Call = Callable[[web.BaseRequest, Runtime, str], Awaitable[Answer]]
"""Serves a request; the text is what stands in the request's path where the route's has a name, without its escapes;
where that name is `REST`, as it was sent."""
CallWithoutName = Callable[[web.BaseRequest, Runtime], Awaitable[Answer]]

_NAME: Final = re.compile(r"\{([a-z_]+)\}")


@dataclass(frozen=True, slots=True)
class AdminRoute:
    """One path. `summary` says in a few words what it is for, to whoever reads the API's description."""

    path: str
    """`/api/generations/{id}/events`: at most one name in braces."""
    methods: tuple[str, ...]
    role: Role | None
    """The least role that may; None: everybody who reaches the listener, which nothing below `/api` is for."""
    call: Call
    summary: str
    shows_text: bool = False
    """Whether it has nothing to tell to somebody who may not see what models wrote."""
    guards_reads: bool = False
    """Whether a read with the page's cookie must prove that it comes from the page, as every change must."""
    lasts: bool = False
    """Whether an answer may go on for as long as a generation does, so that only so many may be open at once."""

    @property
    def takes_rest(self) -> bool:
        """Whether the name in its path takes all segments that follow."""
        return f"{{{REST}}}" in self.path

    def __post_init__(self) -> None:
        if self.role is None and is_below_api(self.path):
            raise ValueError(f"{self.path} needs a role")


class AdminRoutes:
    """All of them."""

    def __init__(self, routes: Iterable[AdminRoute]) -> None:
        self._all = tuple(routes)
        self._plain = {route.path: route for route in self._all if not _NAME.search(route.path)}
        named = (route for route in self._all if _NAME.search(route.path))
        self._named = [(_pattern(route.path), route) for route in named]

    def __iter__(self) -> Iterator[AdminRoute]:
        return iter(self._all)

    def find(self, path: str) -> tuple[AdminRoute, str] | None:
        """The route of a request's path, and what stands there where the route has a name. Plain paths go first."""
        plain = self._plain.get(path)
        if plain is not None:
            return plain, ""
        for pattern, route in self._named:
            if found := pattern.fullmatch(path):
                return route, found[1] if route.takes_rest else unquote(found[1])  # `safe_target` let no hidden / in
        return None


def without_name(call: CallWithoutName) -> Call:
    """What serves a path that has no name in it."""

    async def serve(http: web.BaseRequest, runtime: Runtime, _name: str) -> Answer:
        return await call(http, runtime)

    return serve


def is_below_api(path: str) -> bool:
    """Whether a path is one of the admin API, so that nobody gets anything there without a token."""
    return path == API or path.startswith(f"{API}/")


def _pattern(path: str) -> re.Pattern[str]:
    before, name, after = _NAME.split(path)
    return re.compile(re.escape(before) + ("(.+)" if name == REST else "([^/]+)") + re.escape(after))
