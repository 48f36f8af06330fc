"""The page of the HTTP calls, from the tables that serve and describe them: the dialects' and the admin listener's."""

from collections.abc import Iterable
from typing import Any, Final
from unittest.mock import MagicMock

from proxy.dialects import DIALECTS
from proxy.edge.admin.routes import AdminRoute
from proxy.edge.admin.table import api_routes, open_routes, openapi_route, shown_routes, visitor_routes
from proxy.edge.openapi.admin import ADMIN, shape
from proxy.edge.openapi.proxy import NATIVE
from proxy.engine.operation import Operation

_DOES: Final = {"starts": "starts a generation", "stops": "**stops**", "keeps": ""}
_TITLES: Final = {
    "responses": "`openai` with `responses: emulate`",
    "gemini": "`openai`, upstream with `format: gemini`",
}
_HEAD: Final = """\
# HTTP calls

Below a route's `path` stands what its dialects serve, and the native calls. The admin listener has an address of its
own. What an error says is in [errors](errors.md). The same as OpenAPI 3.1, with every field, for the routes that are
configured: `GET /api/openapi.json` on the admin listener ([the admin API](../admin-api.md)).

## Headers

| header | of | meaning |
|---|---|---|
| `X-Task-Id` | request | the id that the caller chooses: 1 to 128 of `A-Za-z0-9._:-` |
| `X-User-Id` | request | the end user; goes before the one that the body names |
| `X-Max-Seconds`, `X-Max-Tokens`, `X-Max-Cost` | request | what it may use, within the [budgets](../howto/budgets.md) |
| `Last-Event-ID` | request, `…/events` | go on behind this event; `?after=` means the same |
| `X-Task-Id`, `X-Message-Id` | answer | the work's id, by which it is stopped; the answer's id |
| `Retry-After` | answer, 429 and 503 | seconds until it is worth another try |
| `x-should-retry: false` | answer, 499 and used-up budgets | SDKs don't try again |
"""


_TAKES = """\
Who may what: [roles](../access.md). What a call takes stands in the address, in a POST's JSON body, or in a header \
where its name begins with `X-`.
"""


def http_page() -> str:
    """The page."""
    parts = [_HEAD, "## Native, on every route\n", _operations(NATIVE)]
    for name, dialect in DIALECTS.items():
        parts += [f"## {_TITLES.get(name, f'`{name}`')}\n", _operations(dialect.operations)]
        if name in {"openai", "anthropic", "gemini"}:
            parts.append("Everything else below the route is passed on, and not recorded.\n")
    anything = MagicMock()
    parts += ["## Admin listener, for everybody who reaches it\n", _admin(open_routes(anything, anything))]
    tables = (
        visitor_routes(anything, anything),
        api_routes(anything, anything),
        shown_routes(anything, anything, anything),
        [openapi_route(anything)],
    )
    parts += [
        "## Admin listener, with a token\n",
        _TAKES,
        _admin([route for table in tables for route in table]),
    ]
    return "\n".join(parts)


def _operations(operations: Iterable[Operation]) -> str:
    rows = [f"| `{each.method} {each.path}` | {_DOES[each.does]} | {each.summary} |" for each in operations]
    return "\n".join(["| call | | meaning |", "|---|---|---|", *rows, ""])


def _admin(routes: list[AdminRoute]) -> str:
    rows = [
        f"| `{_method(route)} {route.path}` | {route.role or ''} | {route.summary} | {_takes(route)} |"
        for route in routes
    ]
    return "\n".join(["| call | role | meaning | takes |", "|---|---|---|---|", *rows, ""])


def _method(route: AdminRoute) -> str:
    """The method that one uses; HEAD goes with each GET."""
    plain = [each for each in route.methods if each != "HEAD"]
    return plain[0] if len(plain) == 1 else "*"


def _takes(route: AdminRoute) -> str:
    method = next(each for each in route.methods if each != "HEAD")
    described = ADMIN.get((method.lower(), shape(route.path)))
    if described is None:
        return ""
    body: dict[str, Any] = dict(described.body or {})
    return ", ".join(f"`{name}`" for name in (*described.query, *described.headers, *body.get("properties", {})))
