"""What the description of the HTTP API says of the proxy's own listener: each route's calls, as it is configured."""

import re
from collections.abc import Iterator
from typing import Any, Final

from proxy.core.errors import Refusal
from proxy.edge.asked import MAX_PAGE, MAX_REASON, PAGE
from proxy.edge.openapi.admin import JSON, STREAM, shape
from proxy.edge.openapi.errors import dialect_responses, refused_by
from proxy.edge.openapi.schema_words import COUNT, TEXT, Schema, about, in_path_of, obj, ref
from proxy.edge.runtime import Runtime, Served
from proxy.engine.dialect import Dialect
from proxy.engine.operation import Operation

_NAMES: Final = re.compile(r"\{([^}]*)\}")
_REASON: Final[Schema] = {"type": ["string", "null"], "maxLength": MAX_REASON}
_ID: Final = "/generations/{id}"

NATIVE: Final = (
    Operation("GET", "/generations", "The caller's own generations, live and recent, newest first."),
    Operation("POST", "/generations/cancel", "Stop all of the caller's own that are meant.", "stops"),
    Operation("GET", _ID, "The record of one of the caller's own generations."),
    Operation("POST", f"{_ID}/cancel", "Stop one of the caller's own generations.", "stops"),
    Operation("GET", f"{_ID}/events", "Its client-side stream again, from the start or behind an event."),
)
"""The control API below every route."""

_NATIVE_ANSWERS: Final[dict[str, tuple[str, str | None]]] = {
    "/generations": (JSON, "GenerationList"),
    "/generations/cancel": (JSON, "StoppedMany"),
    _ID: (JSON, "Generation"),
    f"{_ID}/cancel": (JSON, "Receipt"),
    f"{_ID}/events": (STREAM, None),
}
_NATIVE_QUERY: Final[dict[str, dict[str, Schema]]] = {
    "/generations": {
        "limit": {"type": "integer", "minimum": 1, "maximum": MAX_PAGE, "default": PAGE},
        "cursor": about(TEXT, "The `next_cursor` of the page before."),
    },
    f"{_ID}/events": {"after": about(COUNT, "Behind which event; Last-Event-ID goes before it.")},
}
_CHOSEN: Final[Schema] = {
    "oneOf": [
        obj({"reason": _REASON}, user=TEXT),
        obj({"reason": _REASON}, tag={"type": "object", "additionalProperties": TEXT}),
        obj({"reason": _REASON}, all={"const": True}),
    ]
}
_NATIVE_BODY: Final[dict[str, Schema]] = {
    "/generations/cancel": _CHOSEN,
    f"{_ID}/cancel": obj({"reason": _REASON}),
}


def route_tags(runtime: Runtime) -> list[dict[str, Any]]:
    """A tag for each route: its path, and what it speaks."""
    return [
        {"name": _tag(served), "description": f"{' and '.join(route.dialects)}, by upstream {route.upstream}"}
        for served, route in ((served, served.route) for served in _routes(runtime))
    ]


def proxy_responses(runtime: Runtime) -> dict[str, Any]:
    """The refusals of all dialects that are served, for `components`."""
    dialects = {dialect.name: dialect for served in _routes(runtime) for dialect in served.dialects}
    return {name: answer for each in dialects.values() for name, answer in dialect_responses(each).items()}


def proxy_paths(runtime: Runtime) -> dict[str, dict[str, Any]]:
    """The calls of all routes. A call that a longer route's path takes away is not this one's."""
    paths: dict[str, dict[str, Any]] = {}
    server = {"url": f"http://{runtime.settings.listen}", "description": "The proxy's own listener."}
    known: dict[str, str] = {}
    for served in _routes(runtime):
        for dialect, operation in _operations(served):
            path = served.route.path.rstrip("/") + operation.path
            if not _is_served(runtime, served, served.route.path.rstrip("/") + operation.sample):
                continue
            item = paths.setdefault(known.setdefault(shape(path), path), {"servers": [server]})
            method = operation.method.lower()
            if method in item:  # another dialect's, told apart by the form of the id
                item[method]["description"] += f" Or, with an id of {dialect.name}: {operation.summary}"
            else:
                needs_key = bool(runtime.settings.keys) or served.credentials is None
                item[method] = _described(served, dialect, operation, path, needs_key=needs_key)
    return paths


def _routes(runtime: Runtime) -> list[Served]:
    found = (runtime.served(route.path) for route in runtime.settings.routes)
    return [served for served in found if served is not None]


def _operations(served: Served) -> Iterator[tuple[Dialect, Operation]]:
    """The calls of a route: those of its dialects that no earlier one takes, then the native ones."""
    for dialect in served.dialects:
        for operation in dialect.operations:
            if served.endpoint(operation.method, operation.sample)[0] is dialect:
                yield dialect, operation
    yield from ((served.dialects[0], operation) for operation in NATIVE)


def _is_served(runtime: Runtime, served: Served, path: str) -> bool:
    """Whether a path is this route's; a longer route may take it away."""
    try:
        found, _ = runtime.match(path)
    except Refusal:
        return False
    return found is served


def _described(served: Served, dialect: Dialect, operation: Operation, path: str, *, needs_key: bool) -> dict[str, Any]:
    native = operation.path if operation in NATIVE else ""
    found: dict[str, Any] = {
        "tags": [_tag(served)],
        "operationId": "_".join(["proxy", operation.method.lower(), *re.findall(r"[A-Za-z0-9]+", path)]),
        "summary": operation.summary,
        "description": _says(operation, "" if native else dialect.name),
        "parameters": _parameters(operation, path, native),
        "responses": {"200": _answer(operation, native), **refused_by(dialect)},
        "security": [{"caller": []}] if needs_key else [{}],
    }
    if operation.method in ("POST", "PATCH"):
        schema = _NATIVE_BODY.get(native, ref("Object"))
        found["requestBody"] = {"content": {JSON: {"schema": schema}}}
    return found


def _says(operation: Operation, dialect: str) -> str:
    if not dialect:
        return "Below every route, the same for each dialect."
    if operation.does == "starts":
        return f"As {dialect} has it; the answer's head has X-Task-Id and X-Message-Id, and the stop routes take both."
    if operation.does == "stops":
        return f"As {dialect} has it; it is answered when the upstream is closed."
    return f"As {dialect} has it."


def _parameters(operation: Operation, path: str, native: str) -> list[dict[str, Any]]:
    found = [in_path_of(name) for name in _NAMES.findall(path)]
    query = _NATIVE_QUERY.get(native, {})
    found += [{"name": name, "in": "query", "schema": schema} for name, schema in query.items()]
    if operation.does == "starts":
        found.append({"name": "X-Task-Id", "in": "header", "schema": TEXT, "description": "An id of the caller's own."})
        found.append({"name": "X-User-Id", "in": "header", "schema": TEXT, "description": "The end user."})
    return found


def _answer(operation: Operation, native: str) -> dict[str, Any]:
    if native:
        content, name = _NATIVE_ANSWERS[native]
        return {"description": "Done.", "content": {content: {"schema": TEXT if name is None else ref(name)}}}
    answer: dict[str, Any] = {"description": "Done.", "content": {JSON: {"schema": ref("Object")}}}
    if operation.does == "starts":
        answer["content"][STREAM] = {"schema": TEXT}
        answer["headers"] = {name: {"schema": TEXT} for name in ("X-Task-Id", "X-Message-Id")}
    return answer


def _tag(served: Served) -> str:
    return served.route.path
