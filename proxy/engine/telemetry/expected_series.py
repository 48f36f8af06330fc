"""The series that the settings let expect, at 0 from the start: a first event is seen as a rise only behind a 0."""

from typing import Final

from proxy.core.errors import UpstreamErrorKind
from proxy.core.lifecycle import CancelResult, Cause
from proxy.core.record import UsageSource
from proxy.core.settings.settings import RouteSettings, Settings, UpstreamSettings
from proxy.engine.telemetry.metrics import NO_ANSWER, TOKEN_KINDS, Metrics
from proxy.stores.ledger.truths import Attached

ERROR_KINDS: Final = (*(kind.value for kind in UpstreamErrorKind), *sorted(NO_ANSWER))
"""How upstreams fail. The metric has a few more kinds, of failures of our own; they begin as they occur."""

STOP_RESULTS: Final = (*(result.value for result in CancelResult), "unknown_id", "foreign_user", "bus_unavailable")
"""What whoever asked for a stop was told of it."""

ABORT_RESULTS: Final = ("ok", "refused", "timeout", "unnamed", "failed")
"""What came of a call of an upstream's own abort; one that broke is told by how it did."""

NATIVE: Final = "native"
OPERATORS: Final = "admin"


def expect(metrics: Metrics, settings: Settings, models: set[str]) -> None:
    """Start the series of these settings at 0; `models`: those that routes or prices name."""
    metrics.expect({route.path: route.upstream for route in settings.routes}, models)
    metrics.live.expect(settings.upstreams, settings.limits.streams)
    for name, upstream in settings.upstreams.items():
        _expect_upstream(metrics, name, upstream)
    dialects = {each for route in settings.routes for each in _dialects(route, settings)}
    for dialect, cause in ((NATIVE, Cause.CLIENT), (OPERATORS, Cause.OPERATOR), *((d, Cause.CLIENT) for d in dialects)):
        for result in STOP_RESULTS:
            metrics.cancels_of(dialect, cause.value, result)
    for route in settings.routes:
        if route.model is not None:
            _expect_model(metrics, route.upstream, route.model)
    for attached in Attached:
        metrics.truths_of(attached.value)
    if settings.bus.url is not None:
        metrics.cancel_latency.labels("remote")


def _dialects(route: RouteSettings, settings: Settings) -> tuple[str, ...]:
    return route.serving(settings.upstreams[route.upstream].format)


def _expect_upstream(metrics: Metrics, name: str, settings: UpstreamSettings) -> None:
    metrics.unconfirmed_of(name)
    for kind in ERROR_KINDS:
        metrics.upstream_errors_of(name, kind)
    if settings.on_stop == "call":
        for result in ABORT_RESULTS:
            metrics.aborts_of(name, result)


def _expect_model(metrics: Metrics, upstream: str, model: str) -> None:
    for kind in TOKEN_KINDS:
        for source in UsageSource:
            if source is not UsageSource.NONE:
                metrics.tokens_of(upstream, model, kind, source.value)
