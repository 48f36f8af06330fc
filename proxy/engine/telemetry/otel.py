"""Calls of upstreams as OpenTelemetry sees them: a client span each, and the gen_ai metrics.

Names follow the GenAI conventions as of late 2026, which are in development; they say nothing of a stop. A stopped
stream is no error here: its span's status is unset, and `quell.cancel.*` says who stopped it and how fast. No prompt,
no answer, no credential and no user is told. Imported only where the settings name an endpoint.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, TracerProvider, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from proxy import __version__
from proxy.core.headers import HeaderPair
from proxy.core.lifecycle import Outcome
from proxy.core.record import Record
from proxy.engine.failures import log_failure
from proxy.engine.upstreams.calling import Calling

SCOPE: Final = "quell"
TRACE_HEADERS: Final = frozenset({"traceparent", "tracestate"})
PROVIDERS: Final = {"openai": "openai", "anthropic": "anthropic", "gemini": "gcp.gemini"}
"""The conventions' names of the wire formats: an upstream that speaks OpenAI's is `openai`, whoever runs it."""
OPERATIONS: Final = {"openai_completions": "text_completion", "gemini": "generate_content"}
"""By wire format; all others chat."""
SECONDS: Final = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
TOKENS: Final = tuple(4**power for power in range(14))

Attributes = dict[str, str | int | float | bool | list[str]]


@dataclass(frozen=True, slots=True)
class _Call:
    """A call that has begun: at `began`, in seconds of the relay's clock. `of` is what its metrics are told by."""

    span: Span
    began: float
    of: Attributes


class Otel:
    """Tells a tracer and a meter of each call."""

    def __init__(
        self,
        tracers: TracerProvider,
        meters: MeterProvider,
        model_label: Callable[[Record], str],
        now: Callable[[], float],
    ) -> None:
        """`model_label` is the model's bounded name for metrics; `now` the engine's clock."""
        self.tracer = tracers.get_tracer(SCOPE, __version__)
        meter = meters.get_meter(SCOPE, __version__)
        self._duration = meter.create_histogram(
            "gen_ai.client.operation.duration",
            "s",
            "GenAI operation duration.",
            explicit_bucket_boundaries_advisory=SECONDS,
        )
        self._first_chunk = meter.create_histogram(
            "gen_ai.client.operation.time_to_first_chunk",
            "s",
            "From the call of the upstream to the first bytes of a stream.",
            explicit_bucket_boundaries_advisory=SECONDS,
        )
        self._tokens = meter.create_histogram(
            "gen_ai.client.token.usage",
            "{token}",
            "Input and output tokens of an operation.",
            explicit_bucket_boundaries_advisory=TOKENS,
        )
        self._model_label = model_label
        self._now = now
        self._calls: dict[str, _Call] = {}
        self._propagator = TraceContextTextMapPropagator()

    def calling(self, relay: Calling, headers: Sequence[HeaderPair]) -> Sequence[HeaderPair]:
        """See `Telemetry`."""
        try:
            return self._calling(relay, headers)
        except Exception as error:  # noqa: BLE001 who looks on must not keep a call from being made
            log_failure("otel.failed", error, task_id=relay.generation.facts.task_id)
            return headers

    def _calling(self, relay: Calling, headers: Sequence[HeaderPair]) -> Sequence[HeaderPair]:
        facts = relay.generation.facts
        asked = _asked(relay)
        name = " ".join(filter(None, (str(asked["gen_ai.operation.name"]), facts.model)))
        span = self.tracer.start_span(name, kind=SpanKind.CLIENT, attributes=asked)
        of = {name: asked[name] for name in ("gen_ai.operation.name", "gen_ai.provider.name")}
        self._calls[facts.uid] = _Call(span, self._now(), of)
        carrier: dict[str, str] = {}
        self._propagator.inject(carrier, set_span_in_context(span))
        return [*((name, value) for name, value in headers if name.lower() not in TRACE_HEADERS), *carrier.items()]

    def settled(self, relay: Calling, record: Record) -> None:
        """See `Telemetry`."""
        call = self._calls.pop(record.uid, None)
        if call is None:  # stopped or refused before its upstream was called
            return
        try:
            self._settled(relay, record, call)
        except Exception as error:  # noqa: BLE001 nor may it keep a generation from its end
            log_failure("otel.failed", error, task_id=record.task_id)

    def _settled(self, relay: Calling, record: Record, call: _Call) -> None:
        generation = relay.generation
        ended = self._now() if relay.read_on is not None or generation.ended is None else generation.ended
        took = max(ended - call.began, 0.0)
        first = None if generation.first_token is None else max(generation.first_token - call.began, 0.0)
        error = _error_of(record)
        if call.span.is_recording():
            call.span.set_attributes(_answered(relay, record, first))
            if error is not None:
                call.span.set_attribute("error.type", error)
                call.span.set_status(Status(StatusCode.ERROR))
        call.span.end(time.time_ns() - round((self._now() - ended) * 1e9))
        of = {**call.of, "gen_ai.request.model": self._model_label(record)}
        ended_as = {**of, "quell.outcome": record.outcome.value}
        if error is not None:
            ended_as["error.type"] = error
        self._duration.record(took, ended_as)
        if first is not None and relay.streams:
            self._first_chunk.record(first, of)
        for kind, count in (("input", record.prompt_tokens), ("output", record.completion_tokens)):
            if count is not None:
                self._tokens.record(count, {**of, "gen_ai.token.type": kind})


def _asked(relay: Calling) -> Attributes:
    """What is known when the call is made."""
    facts, plan, settings = relay.generation.facts, relay.plan, relay.upstream.settings
    address = urlsplit(settings.base_url)
    found: dict[str, Any] = {
        "gen_ai.operation.name": OPERATIONS.get(plan.wire.name, "chat"),
        "gen_ai.provider.name": PROVIDERS.get(settings.format, settings.format),
        "gen_ai.request.model": facts.model,
        "gen_ai.request.stream": plan.streamed,
        "gen_ai.request.max_tokens": facts.max_tokens,
        "server.address": address.hostname,
        "server.port": address.port or (443 if address.scheme == "https" else 80),
        "quell.task_id": facts.task_id,
        "quell.route": facts.route,
        "quell.upstream": facts.upstream,
        "quell.dialect": facts.dialect,
    }
    return _known(found)


def _answered(relay: Calling, record: Record, first: float | None) -> Attributes:
    """What is known at the end; what is unknown is left out, never 0."""
    reasons = relay.generation.partial.finish_reasons
    found: dict[str, Any] = {
        "gen_ai.response.id": record.upstream_id,
        "gen_ai.response.model": record.upstream_model,
        "gen_ai.response.finish_reasons": [reasons[choice] for choice in sorted(reasons)] or None,
        "gen_ai.response.time_to_first_chunk": first if relay.streams else None,
        "gen_ai.usage.input_tokens": record.prompt_tokens,
        "gen_ai.usage.output_tokens": record.completion_tokens,
        "gen_ai.usage.cache_read.input_tokens": record.cached_tokens,
        "gen_ai.usage.reasoning.output_tokens": record.reasoning_tokens,
        "http.response.status_code": relay.generation.status,
        "quell.outcome": record.outcome.value,
        "quell.usage.source": record.usage_source.value,
    }
    if record.cause is not None:
        closed = record.upstream_closed_ms
        found |= {
            "quell.cancel.cause": record.cause.value,
            "quell.cancel.phase": record.phase.value,
            "quell.cancel.latency": None if closed is None else closed / 1000,
            "quell.cancel.read_on": relay.read_on is not None,
        }
    return _known(found)


def _known(found: dict[str, Any]) -> Attributes:
    return {name: value for name, value in found.items() if value is not None}


def _error_of(record: Record) -> str | None:
    """What went wrong, if something did: a stop, whoever asked for it, is no error."""
    if record.cause is None and record.outcome in (Outcome.FAILED, Outcome.TIMED_OUT):
        return record.error_kind or record.outcome.value
    return None
