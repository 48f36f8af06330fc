"""`GET /api/openapi.json`: the HTTP API of this replica as OpenAPI 3.1, made from the tables that serve it.

Source: the OpenAPI Specification 3.1.1. What is not configured is not in it.
"""

import re
from collections.abc import Callable, Iterable
from typing import Any, Final

from aiohttp import web

from proxy import __version__
from proxy.edge.admin.query import parameters
from proxy.edge.admin.routes import AdminRoute
from proxy.edge.openapi.admin import ADMIN, METHODS, Described, shape
from proxy.edge.openapi.answers import ANSWER_SCHEMAS
from proxy.edge.openapi.errors import ALWAYS, ERROR_SCHEMAS, error_responses, refused_with
from proxy.edge.openapi.proxy import proxy_paths, proxy_responses, route_tags
from proxy.edge.openapi.records import RECORD_SCHEMAS
from proxy.edge.openapi.schema_words import TEXT, in_path_of, ref
from proxy.edge.runtime import Runtime

ADMIN_TAG: Final = "admin"
_NAMES: Final = re.compile(r"\{([^}]*)\}")
_SCHEMES: Final = {
    "admin": {"type": "http", "scheme": "bearer", "description": "A token of the admin listener."},
    "page": {
        "type": "apiKey",
        "in": "cookie",
        "name": "quell_session",
        "description": "What the page has after its login; with the port in its name where the address has one. What "
        "changes anything needs the header X-Quell-Page: 1 too.",
    },
    "caller": {"type": "http", "scheme": "bearer", "description": "What the caller sends to its provider."},
}
_DESCRIPTION: Final = (
    "The admin API of the admin listener, and below each route of the proxy's own listener the calls that its dialects "
    "serve or understand, with the native control API. Below a passed-through route everything else is passed on."
)


class AdminOpenAPI:
    """The call `/api/openapi.json`; `table` gives the rows of the admin listener."""

    def __init__(self, table: Callable[[], Iterable[AdminRoute]]) -> None:
        self._table = table
        self._made: tuple[Runtime, dict[str, Any]] | None = None

    async def openapi(self, http: web.BaseRequest, runtime: Runtime) -> dict[str, Any]:
        """This replica's HTTP API, as it is configured now."""
        parameters(http, ())
        if self._made is None or self._made[0] is not runtime:
            self._made = runtime, document(runtime, self._table())
        return self._made[1]


def document(runtime: Runtime, table: Iterable[AdminRoute]) -> dict[str, Any]:
    """The description of everything that is served with these settings; `table` has the rows of the admin listener."""
    paths: dict[str, dict[str, Any]] = {}
    for route in table:
        item = paths.setdefault(route.path, {})
        for method in METHODS:
            if method.upper() in route.methods:
                item[method] = _operation(method, route)
    taken = {shape(path) for path in paths}
    ours = {path: item for path, item in proxy_paths(runtime).items() if shape(path) not in taken}
    schemas = {**RECORD_SCHEMAS, **ANSWER_SCHEMAS, **ERROR_SCHEMAS}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Quell", "version": __version__, "description": _DESCRIPTION},
        "tags": [{"name": ADMIN_TAG, "description": "The admin listener."}, *route_tags(runtime)],
        "paths": {**paths, **ours},
        "components": {
            "schemas": schemas,
            "responses": {**error_responses(), **proxy_responses(runtime)},
            "securitySchemes": _SCHEMES,
        },
    }


def _operation(method: str, route: AdminRoute) -> dict[str, Any]:
    described = ADMIN.get((method, shape(route.path))) or Described("Object", refuses=())
    always = () if route.role is None else ALWAYS
    found: dict[str, Any] = {
        "tags": [ADMIN_TAG],
        "operationId": _ident(method, route.path),
        "summary": route.summary,
        "description": _who_may(route),
        "parameters": _parameters(route.path, described),
        "responses": {**_answers(described), **refused_with(*described.refuses, *always)},
        "security": [] if route.role is None else [{"admin": []}, {"page": []}],
    }
    if described.body is not None:
        found["requestBody"] = {"content": {"application/json": {"schema": described.body}}}
    return found


def _who_may(route: AdminRoute) -> str:
    if route.role is None:
        return "For everybody who reaches the listener; it needs no token."
    needs = f"It needs the role {route.role}"
    return f"{needs}, and the right to see texts." if route.shows_text else f"{needs}."


def _parameters(path: str, described: Described) -> list[dict[str, Any]]:
    in_path = [in_path_of(name) for name in _NAMES.findall(path)]
    in_query = [
        {"name": name, "in": "query", "required": name in described.needs, "schema": schema}
        for name, schema in described.query.items()
    ]
    in_header = [{"name": name, "in": "header", "schema": schema} for name, schema in described.headers.items()]
    return [*in_path, *in_query, *in_header]


def _answers(described: Described) -> dict[str, Any]:
    schema = TEXT if described.answer is None else ref(described.answer)
    content = {described.content: {"schema": schema, **described.more}}
    words = {200: "Done.", **described.also}
    return {str(status): {"description": text, "content": content} for status, text in words.items()}


def _ident(method: str, path: str) -> str:
    """A name for programs, such as `get_api_generations_id`."""
    return "_".join([method, *re.findall(r"[A-Za-z0-9]+", path)])
