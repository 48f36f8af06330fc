"""OpenTelemetry's way out: providers whose exporters work in threads of their own, so the event loop never waits.

Imported only where the settings name an endpoint: the packages are an extra.
"""

import logging
import threading
import time
from typing import Final

import structlog
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

from proxy import __version__
from proxy.core.settings.otel import OtelSettings

log = structlog.get_logger()

EXPORT_SECONDS: Final = 5
"""How long one export may take; what can't be sent is dropped, the newest last."""
CLOSE_SECONDS: Final = 3.0
"""How long the end may take: a collector that is there has everything sooner."""
SPAN_SECONDS: Final = 2.0
"""How long a span may wait for others before they are sent together."""
SAY_AGAIN_SECONDS: Final = 60.0


class Export:
    """Where spans and metrics go."""

    def __init__(self, settings: OtelSettings, replica: str) -> None:
        """Ready to be given spans and numbers; a collector that is not there is no error."""
        listen_to_library()
        headers = {name: value.get_secret_value() for name, value in settings.headers.items()}
        resource = Resource.create(
            {"service.name": settings.service, "service.instance.id": replica, "service.version": __version__}
        )
        spans = OTLPSpanExporter(f"{settings.endpoint}/v1/traces", headers=headers, timeout=EXPORT_SECONDS)
        sampler = ParentBased(TraceIdRatioBased(settings.sample))
        self.tracers = TracerProvider(sampler=sampler, resource=resource, shutdown_on_exit=False)
        self.tracers.add_span_processor(BatchSpanProcessor(spans, schedule_delay_millis=SPAN_SECONDS * 1000))
        numbers = OTLPMetricExporter(f"{settings.endpoint}/v1/metrics", headers=headers, timeout=EXPORT_SECONDS)
        reader = PeriodicExportingMetricReader(numbers, export_interval_millis=settings.interval * 1000)
        self.meters = MeterProvider([reader], resource=resource, shutdown_on_exit=False)

    def close(self) -> None:
        """Send what waits, and end; to be called in a thread, because it may take `CLOSE_SECONDS`.

        The library waits for as many exports as its queue holds, each with its own patience. A process that shall end
        does not wait for a collector that is away: what is not sent by then ends with it.
        """
        ends = [threading.Thread(target=each.shutdown, daemon=True) for each in (self.tracers, self.meters)]
        for end in ends:
            end.start()
        until = time.monotonic() + CLOSE_SECONDS
        for end in ends:
            end.join(max(until - time.monotonic(), 0.0))


class _Say(logging.Handler):
    """Puts what the library says of failed exports into our log, now and then."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._again = 0.0

    def emit(self, record: logging.LogRecord) -> None:
        """Say it, unless something was said a short time ago."""
        if (now := time.monotonic()) >= self._again:
            self._again = now + SAY_AGAIN_SECONDS
            log.warning("otel.export_failed", problem=record.getMessage())


def listen_to_library() -> None:
    """Have the library's own warnings in our log; once for a process."""
    logger = logging.getLogger("opentelemetry")
    if not any(isinstance(handler, _Say) for handler in logger.handlers):
        logger.setLevel(logging.WARNING)
        logger.propagate = False
        logger.addHandler(_Say())
