"""Starting OpenTelemetry, where the settings name an endpoint. Its packages are an extra, imported only then."""

import asyncio
from typing import TYPE_CHECKING, Final

from proxy.core.errors import Refusal
from proxy.core.settings.otel import OtelSettings
from proxy.edge.gateway import Gateway
from proxy.engine.engine import Engine

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

    from proxy.edge.traced import Handler
    from proxy.engine.telemetry.otel_export import Export

NOT_INSTALLED: Final = (
    "observability.otel.endpoint needs the packages of OpenTelemetry: install quell[otel], or leave endpoint out"
)


class TracingError(Exception):
    """It can't be started; the message says why and what to do."""


class Tracing:
    """Spans and metrics on their way out."""

    def __init__(self, export: "Export", tracer: "Tracer") -> None:
        self._export = export
        self._tracer = tracer

    def around(self, gateway: Gateway) -> "Handler":
        """The gateway's handler, with a span for each request."""
        from proxy.edge.traced import traced  # noqa: PLC0415 its package is an extra

        def route_of(path: str) -> str | None:
            try:
                served, _ = gateway.runtime.match(path)
            except Refusal:
                return None
            return served.route.path

        return traced(gateway.handle, self._tracer, route_of)

    async def close(self) -> None:
        """Send what waits, and end, with or without a collector that takes it."""
        await asyncio.to_thread(self._export.close)


def start_tracing(settings: OtelSettings, engine: Engine, replica: str) -> Tracing | None:
    """Have the engine tell of its calls; None where the settings name nobody to tell.

    Raises:
        TracingError: the packages are not installed.
    """
    if settings.endpoint is None:
        return None
    try:
        from proxy.engine.telemetry.otel import Otel  # noqa: PLC0415 its package is an extra
        from proxy.engine.telemetry.otel_export import Export  # noqa: PLC0415 the same
    except ImportError as error:
        raise TracingError(NOT_INSTALLED) from error
    export = Export(settings, replica)
    engine.telemetry = otel = Otel(export.tracers, export.meters, engine.metrics.model_label, engine.now)
    return Tracing(export, otel.tracer)
