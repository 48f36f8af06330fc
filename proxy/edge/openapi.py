"""`GET /api/openapi.json`: the HTTP API of this replica as OpenAPI 3.1, made from the tables that serve it.

Source: the OpenAPI Specification 3.1.1. What is not configured is not in it.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Protocol

from aiohttp import web

from proxy import __version__
from proxy.edge.admin_query import parameters
from proxy.edge.openapi_admin import ADMIN, METHODS, Described, shape
from proxy.edge.openapi_answers import ANSWER_SCHEMAS
from proxy.edge.openapi_errors import ALWAYS, ERROR_SCHEMAS, error_responses, refused_with
from proxy.edge.openapi_proxy import proxy_paths, proxy_responses, route_tags
from proxy.edge.openapi_records import RECORD_SCHEMAS
from proxy.edge.runtime import Runtime
from proxy.edge.schema_words import TEXT, ref

ADMIN_TAG: Final = "admin"
_NAMES: Final = re.compile(r"\{([^}]*)\}")
_OPEN: Final = (
    ("/livez", "Whether the process lives; /healthz is the same."),
    ("/readyz", "Whether new work should be sent here; 503 while it should not."),
    ("/metrics", "The metrics, in Prometheus' format or OpenMetrics."),
)
_DESCRIPTION: Final = (
    "The admin API of the admin listener, and below each route of the proxy's own listener the calls that its dialects "
    "serve or understand, with the native control API. Below a passed-through route everything else is passed on."
)


class AdminCall(Protocol):
    """One row of the admin listener's table: `{name}` stands for a part of the path that differs."""

    @property
    def path(self) -> str:
        """Where it is."""
        ...

    @property
    def methods(self) -> Sequence[str]:
        """By which methods; `*` means any."""
        ...

    @property
    def summary(self) -> str:
        """One sentence."""
        ...


class AdminOpenAPI:
    """The call `/api/openapi.json`; `table` gives the rows of the admin API."""

    def __init__(self, table: Callable[[], Iterable[AdminCall]]) -> None:
        self._table = table
        self._made: tuple[Runtime, dict[str, Any]] | None = None

    async def openapi(self, http: web.BaseRequest, runtime: Runtime) -> dict[str, Any]:
        """This replica's HTTP API, as it is configured now."""
        parameters(http, ())
        if self._made is None or self._made[0] is not runtime:
            self._made = runtime, document(runtime, self._table())
        return self._made[1]


def document(runtime: Runtime, table: Iterable[AdminCall]) -> dict[str, Any]:
    """The description of everything that is served with these settings; `table` has the rows of the admin API."""
    paths: dict[str, dict[str, Any]] = {}
    for path, summary in _OPEN:
        paths[path] = {"get": {**_operation("get", path, summary), "security": []}}
    for call in table:
        item = paths.setdefault(call.path, {})
        for method in _methods(call.methods):
            item[method] = _operation(method, call.path, call.summary)
    taken = {shape(path) for path in paths}
    ours = {path: item for path, item in proxy_paths(runtime).items() if shape(path) not in taken}
    schemas = {**RECORD_SCHEMAS, **ANSWER_SCHEMAS, **ERROR_SCHEMAS}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Quell", "version": __version__, "description": _DESCRIPTION},
        "tags": [{"name": ADMIN_TAG, "description": "The admin listener."}, *route_tags(runtime)],
        "paths": {**paths, **ours},
        "security": [{"admin": []}],
        "components": {
            "schemas": schemas,
            "responses": {**error_responses(), **proxy_responses(runtime)},
            "securitySchemes": {
                "admin": {"type": "http", "scheme": "bearer", "description": "A token of the admin listener."},
                "caller": {"type": "http", "scheme": "bearer", "description": "What the caller sends to its provider."},
            },
        },
    }


def _methods(given: Sequence[str]) -> list[str]:
    lower = {method.lower() for method in given}
    return [method for method in METHODS if method in lower or lower & {"*", "any"}]


def _operation(method: str, path: str, summary: str) -> dict[str, Any]:
    described = ADMIN.get((method, shape(path))) or Described("Object", refuses=())
    is_api = path.startswith("/api/")
    found: dict[str, Any] = {
        "tags": [ADMIN_TAG],
        "operationId": _ident(method, path),
        "summary": summary,
        "parameters": _parameters(path, described),
        "responses": {
            "200": _answer(described),
            **refused_with(*described.refuses, *(ALWAYS if is_api else ())),
        },
    }
    if described.body is not None:
        found["requestBody"] = {"content": {"application/json": {"schema": described.body}}}
    return found


def _parameters(path: str, described: Described) -> list[dict[str, Any]]:
    in_path = [{"name": name, "in": "path", "required": True, "schema": TEXT} for name in _NAMES.findall(path)]
    in_query = [
        {"name": name, "in": "query", "required": name in described.needs, "schema": schema}
        for name, schema in described.query.items()
    ]
    return [*in_path, *in_query]


def _answer(described: Described) -> dict[str, Any]:
    schema = TEXT if described.answer is None else ref(described.answer)
    return {"description": "Done.", "content": {described.content: {"schema": schema, **described.more}}}


def _ident(method: str, path: str) -> str:
    """A name for programs, such as `get_api_generations_id`."""
    return "_".join([method, *re.findall(r"[A-Za-z0-9]+", path)])
