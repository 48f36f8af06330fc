"""Routes that take away what another one serves: an inner path wins, so the outer route's endpoint would be dead.

Only a translated dialect claims its endpoints. One that passes every path on leaves to an inner route what that takes:
a route of its own for `/v1/embeddings` is no mistake.
"""

from collections.abc import Iterator
from typing import Any, Final

from proxy.config_file.values import Findings
from proxy.core.settings.scalar_types import one_or_more
from proxy.core.settings.urls import check_route_path

ENDPOINTS: Final = {
    "dify": (
        "/completion-messages",
        "/chat-messages",
        "/workflows/run",
        "/workflows/tasks",
        "/conversations",
        "/messages",
        "/info",
        "/parameters",
        "/meta",
        "/site",
    ),
    "async_messages": ("/messages/async",),
    "aitronos": ("/model/response", "/models", "/threads"),
}
"""Below which paths each dialect's documented endpoints are."""


def find_claims(routes: Iterator[tuple[int, dict[str, Any]]], findings: Findings) -> None:
    """An error for each route whose path takes an endpoint of another one's dialect."""
    known = [(index, path, route) for index, route in routes if (path := _path_of(route)) is not None]
    for index, path, route in known:
        for inner, inner_path, _ in known:
            taken = _taken(route, inner_path[len(path) :]) if inner_path.startswith(f"{path}/") else None
            if taken is not None:
                whose = f"routes[{index}] (line {findings.at(('routes', index, 'path')).line}), a route of {taken[0]}"
                message = f"takes {path}{taken[1]} from {whose}; give one of them another path"
                findings.error(("routes", inner, "path"), message)


def _taken(route: dict[str, Any], below: str) -> tuple[str, str] | None:
    """The first dialect of a route, and its endpoint, that another route takes whose path is `below` this one's."""
    dialects = one_or_more(route.get("dialect"))
    for dialect in dialects if isinstance(dialects, (list, tuple)) else ():
        for endpoint in ENDPOINTS.get(dialect, ()) if isinstance(dialect, str) else ():
            if endpoint == below or endpoint.startswith(f"{below}/") or below.startswith(f"{endpoint}/"):
                return dialect, endpoint
    return None


def _path_of(route: dict[str, Any]) -> str | None:
    try:
        return check_route_path(str(route.get("path"))).rstrip("/")
    except ValueError:
        return None
