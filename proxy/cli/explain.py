"""Which route takes a request, where it goes, and why: the words of `quell check --explain`."""

from collections.abc import Mapping
from dataclasses import dataclass

from proxy.config_file.problems import Loc, Position
from proxy.core.errors import Refusal
from proxy.core.paths import join, safe_target
from proxy.core.routing import RouteTable
from proxy.core.settings.settings import RouteSettings, Settings
from proxy.dialects import DIALECTS
from proxy.edge.control import Control
from proxy.engine.dialect import Refuse, StopCall, who_serves
from proxy.wire.chat_request import PATH


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
    upstream, url, words = _becomes(settings, route, method, rest)
    return Explanation(request, place, upstream, url, f"{why}; {words}" if words else why)


def _becomes(settings: Settings, route: RouteSettings, method: str, rest: str) -> tuple[str | None, str | None, str]:
    """Which upstream is called for a request on a route, at which address, and what else there is to say."""
    upstream = settings.upstreams[route.upstream]
    served, base = [DIALECTS[name] for name in route.serving(upstream.format)], upstream.base_url
    dialect, endpoint = who_serves(served, method, rest)
    if Control.serves(rest) or isinstance(endpoint, StopCall):
        return None, None, "Quell answers it itself, nothing goes upstream"
    if isinstance(endpoint, Refuse):
        return None, None, f"answered with {endpoint.refusal.status}: {endpoint.refusal.message}"
    if callable(endpoint) and dialect.name == "openai":
        return route.upstream, join(base, rest, ""), "unless Quell can serve it by itself"
    if callable(endpoint):
        calls = join(base, PATH, "")
        return route.upstream, None, f"the dialect {dialect.name} serves it; its model calls go to {calls}"
    if route.only and not any(allowed in ("/", rest) or rest.startswith(f"{allowed}/") for allowed in route.only):
        return None, None, f"answered with 403: its only list does not have {rest}"
    return route.upstream, join(base, rest, ""), ""


def _why(settings: Settings, chosen: RouteSettings, path: str) -> str:
    others = [route.path for route in settings.routes if route != chosen and RouteTable([route]).match(path)]
    if not others:
        return f"{chosen.path} is the only route that begins it"
    return f"{chosen.path} is the longest route that begins it, before {', '.join(others)}"
