"""The proxy's handler with a server span around each request: the parent of what is called upstream for it.

Imported only where the settings name an OpenTelemetry endpoint: the packages are an extra.
"""

from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web
from opentelemetry import context
from opentelemetry.trace import (
    Span,
    SpanKind,
    Status,
    StatusCode,
    Tracer,
    format_trace_id,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from structlog.contextvars import bound_contextvars

from proxy.core.errors import Refusal
from proxy.core.paths import safe_target

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
SERVER_ERROR: Final = 500


def traced(handle: Handler, tracer: Tracer, route_of: Callable[[str], str | None]) -> Handler:
    """The same handler, whose requests are traced.

    Args:
        handle: serves a request.
        tracer: where the spans begin.
        route_of: gives the path of the route that takes a path; None: there is none.
    """
    propagator = TraceContextTextMapPropagator()

    async def serve(http: web.BaseRequest) -> web.StreamResponse:
        path, route = _place(http, route_of)
        method = http.method if http.method in METHODS else "_OTHER"
        attributes = {"http.request.method": method, "url.scheme": http.scheme, "url.path": path}
        if route is not None:
            attributes["http.route"] = route
        parent = propagator.extract(http.headers)
        name = method if route is None else f"{method} {route}"
        span = tracer.start_span(name, parent, SpanKind.SERVER, attributes)
        token = context.attach(set_span_in_context(span, parent))
        try:  # what runs for this request logs its trace too: tasks begin with a copy of this context
            with bound_contextvars(trace_id=format_trace_id(span.get_span_context().trace_id)):
                response = await handle(http)
        except Refusal as refusal:
            _answered(span, refusal.status)
            raise
        else:
            _answered(span, response.status)
            return response
        finally:  # a client that left is told by what became of its generation, and is no error
            context.detach(token)
            span.end()

    return serve


def _place(http: web.BaseRequest, route_of: Callable[[str], str | None]) -> tuple[str, str | None]:
    try:
        path, _ = safe_target(http.raw_path)
    except Refusal:  # the handler answers it
        return http.path, None
    return path, route_of(path)


def _answered(span: Span, status: int) -> None:
    span.set_attribute("http.response.status_code", status)
    if status >= SERVER_ERROR:
        span.set_attribute("error.type", str(status))
        span.set_status(Status(StatusCode.ERROR))
