"""A small receiver of OTLP over HTTP: what a collector would get, decoded.

async with otlp_receiver() as otlp:
    ... otlp.endpoint, otlp.spans, otlp.numbers("gen_ai.client.token.usage"), otlp.headers
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from multidict import CIMultiDictProxy
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue


@dataclass(frozen=True, slots=True)
class GotSpan:
    """One span that came in."""

    name: str
    kind: int
    """2: server, 3: client."""
    trace_id: str
    span_id: str
    parent_id: str
    status: int
    """0: unset, 2: error."""
    seconds: float
    attributes: dict[str, Any]
    resource: dict[str, Any]


class OtlpReceiver:
    """The receiver. Until `answers` is set it takes exports and says nothing."""

    def __init__(self) -> None:
        self.port = 0
        self.asked, self.answers = asyncio.Event(), asyncio.Event()
        self.answers.set()
        self.spans: list[GotSpan] = []
        self.headers: list[CIMultiDictProxy[str]] = []
        self._numbers: dict[str, list[tuple[dict[str, Any], int, float]]] = {}

    @property
    def endpoint(self) -> str:
        """Its address, without a path."""
        return f"http://127.0.0.1:{self.port}"

    def numbers(self, name: str) -> list[tuple[dict[str, Any], int, float]]:
        """The newest points of a histogram: attributes, count and sum."""
        return self._numbers.get(name, [])

    def span(self, kind: int, **attributes: Any) -> GotSpan | None:
        """The only span of that kind with these attributes, whose names have dots for double underscores."""
        wanted = {name.replace("__", "."): value for name, value in attributes.items()}
        found = [each for each in self.spans if each.kind == kind and wanted.items() <= each.attributes.items()]
        return found[0] if len(found) == 1 else None

    async def take(self, http: web.BaseRequest) -> web.Response:
        """Take one export."""
        body = await http.read()
        self.headers.append(http.headers)
        self.asked.set()
        await self.answers.wait()
        if http.path == "/v1/traces":
            self._take_spans(ExportTraceServiceRequest.FromString(body))
        elif http.path == "/v1/metrics":
            self._take_metrics(ExportMetricsServiceRequest.FromString(body))
        else:
            return web.Response(status=404)
        return web.Response()

    def _take_spans(self, request: Any) -> None:
        for each in request.resource_spans:
            resource = _plain(each.resource.attributes)
            for span in (span for scope in each.scope_spans for span in scope.spans):
                seconds = (span.end_time_unix_nano - span.start_time_unix_nano) / 1e9
                ids = span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex()
                attributes = _plain(span.attributes)
                self.spans.append(GotSpan(span.name, span.kind, *ids, span.status.code, seconds, attributes, resource))

    def _take_metrics(self, request: Any) -> None:
        for each in request.resource_metrics:
            for metric in (metric for scope in each.scope_metrics for metric in scope.metrics):
                points = [(_plain(point.attributes), point.count, point.sum) for point in metric.histogram.data_points]
                self._numbers[metric.name] = points


def _plain(attributes: list[KeyValue]) -> dict[str, Any]:
    found = {}
    for each in attributes:
        kind = str(each.value.WhichOneof("value"))
        value = getattr(each.value, kind)
        found[each.key] = [one.string_value for one in value.values] if kind == "array_value" else value
    return found


@asynccontextmanager
async def otlp_receiver() -> AsyncIterator[OtlpReceiver]:
    """Run a receiver on a free port."""
    receiver = OtlpReceiver()
    runner = web.ServerRunner(web.Server(receiver.take))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    receiver.port = runner.addresses[0][1]
    try:
        yield receiver
    finally:
        receiver.answers.set()
        await runner.cleanup()
