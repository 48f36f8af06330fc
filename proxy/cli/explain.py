"""Which route takes a request, where it goes, and why: the words of `quell check --explain`."""

from collections.abc import Mapping
from dataclasses import dataclass

from proxy.config_file.problems import Loc, Position
from proxy.core.errors import Refusal
from proxy.core.paths import join, safe_target
from proxy.core.routing import RouteTable
from proxy.core.settings import RouteSettings, Settings
from proxy.dialects import DIALECTS
from proxy.edge.control import Control
from proxy.engine.dialect import StopCall

_PASSED_ON = frozenset({"openai", "anthropic"})
"""The dialects whose paths are the upstream's own."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """The answer. What does not apply is None."""

    request: str
    route: str | None
    upstream: str | None
    url: str | None
    why: str

    def lines(self) -> list[str]:
        """For people."""
        shown = {"route": self.route or "none", "upstream": self.upstream, "goes to": self.url, "why": self.why}
        return [self.request, *(f"  {name:<9} {value}" for name, value in shown.items() if value)]


def explain(settings: Settings, positions: Mapping[Loc, Position], method: str, target: str) -> Explanation:
    """Say what becomes of a request. `positions` are the file's; `target` is a path without a query."""
    request = f"{method} {target}"
    try:
        path, _ = safe_target(target)
    except Refusal as refusal:
        return Explanation(request, None, None, None, f"answered with {refusal.status}: {refusal.message}")
    match = RouteTable(settings.routes).match(path)
    if match is None:
        known = ", ".join(route.path for route in settings.routes)
        return Explanation(request, None, None, None, f"answered with 404: no route's path begins it (routes: {known})")
    route, rest = match
    index = settings.routes.index(route)
    line = positions["routes", index].line
    place = f"{route.path} (routes[{index}], line {line}, dialect {', '.join(route.dialects)})"
    why = _why(settings, route, path)
    kept = _kept_here(route, method, rest)
    if kept is not None:
        return Explanation(request, place, None, None, f"{why}; {kept}")
    if not _PASSED_ON & set(route.dialects):
        return Explanation(request, place, route.upstream, None, f"{why}; its dialect is translated by Quell")
    url = join(settings.upstreams[route.upstream].base_url, rest, "")
    return Explanation(request, place, route.upstream, url, why)


def _kept_here(route: RouteSettings, method: str, rest: str) -> str | None:
    """Why nothing goes upstream; None: it does."""
    try:
        is_ours = _is_ours(route, method, rest)
    except Refusal as refusal:
        return f"answered with {refusal.status}: {refusal.message}"
    if is_ours:
        return "Quell answers it itself, nothing goes upstream"
    if route.only and not any(allowed in ("/", rest) or rest.startswith(f"{allowed}/") for allowed in route.only):
        return f"answered with 403: its only list does not have {rest}"
    return None


def _is_ours(route: RouteSettings, method: str, rest: str) -> bool:
    """True for the native control API and for the stop routes of the route's dialects.

    Raises:
        Refusal: the server refuses the request by its path alone.
    """
    if Control.serves(rest):
        return True
    known = (DIALECTS[name].endpoint(method, rest) for name in route.dialects if name in DIALECTS)
    return isinstance(next((found for found in known if found is not None), None), StopCall)


def _why(settings: Settings, chosen: RouteSettings, path: str) -> str:
    others = [route.path for route in settings.routes if route != chosen and RouteTable([route]).match(path)]
    if not others:
        return f"{chosen.path} is the only route that begins it"
    return f"{chosen.path} is the longest route that begins it, before {', '.join(others)}"
