"""Counting: what happens, told to the metrics. Labels are closed sets or come from the settings, so series stay few."""

from collections.abc import Callable, Iterable
from typing import Final

from prometheus_client import CollectorRegistry

from proxy import __version__
from proxy.core.budget import Budget
from proxy.core.letters import WHY
from proxy.core.lifecycle import Cause, Outcome
from proxy.core.record import Record, UsageSource
from proxy.core.settled import Truth
from proxy.engine.telemetry.live_metrics import LiveMetrics
from proxy.engine.telemetry.metric_families import FIRST_TOKEN, Families
from proxy.engine.telemetry.series import OTHER, Series

OTHER_MODELS = 16
"""So many models that no setting names are shown by name, the first ones that were answered."""
MOST_SOURCES = 4
"""So many that tell later truths are shown by name, the first ones that did."""
SERIES_OF_MODEL = 28
"""So many series a model may make: kinds and sources of tokens, its cost, and its drift from each that tells."""
SINK_RESULTS = ("delivered", "failed", "refused")
"""What becomes of events that are sent: refused ones would be refused again as they are."""
NO_ANSWER = frozenset({"rejected_upstream", "upstream_error"})
"""Error kinds of answers that are themselves errors, as soon as they may come."""
REFUSALS: Final = ("streams", "key_streams", "draining", "ledger")
"""Why a model call is refused: by `limits.streams`, by its key's `limits.streams`, at the end, or without a ledger."""
TOKEN_KINDS: Final = ("prompt", "completion", "cached", "reasoning")
BESIDE_BUCKETS: Final = 3
"""Series of a histogram besides its buckets: the last bucket, the sum and the count."""


class Metrics(Families):
    """This replica's metrics, in a registry of their own. What ends in `_of` takes the values of the labels."""

    def __init__(self, max_series: int = 5000) -> None:
        super().__init__(CollectorRegistry())
        self._models: set[str] = set()
        self._strangers = 0
        self._sources: set[str] = set()
        self._series = series = Series(max_series, self.series_dropped)
        self.live = LiveMetrics(self.registry, series)
        self.generations_of = series.of(self.generations, free=2)
        self.cancels_of = series.of(self.cancels)
        self.unconfirmed_of = series.of(self.cancels_unconfirmed, free=1)
        self.first_token_of = series.of(self.first_token, free=1, each=len(FIRST_TOKEN) + BESIDE_BUCKETS)
        self.tokens_of = series.of(self.tokens, free=2)
        self.cost_of = series.of(self.cost, free=3)
        self.late_of = series.of(self.late, free=1)
        self.saved_of = series.of(self.saved, free=1)
        self.aborts_of = series.of(self.aborts, free=1)
        self.upstream_errors_of = series.of(self.upstream_errors, free=1)
        self.budget_stops_of = series.of(self.budget_stops)
        self.budget_refusals_of = series.of(self.budget_refusals)
        self.truths_of = series.of(self.truths)
        self.drift_of = series.of(self.drift, free=3)
        self.build.labels(__version__).set(1)
        self.bus_up.set(1)
        self.limits_shared.set(1)
        self.reload_success.set(1)
        self.cancel_latency.labels("local")
        self._ledger_seen = {"ok": 0, "error": 0}
        for closed, values in (
            (self.letters_refused, WHY),
            (self.ledger_writes, self._ledger_seen),
            (self.sink_events, SINK_RESULTS),
            (self.refusals, REFUSALS),
        ):
            for value in values:
                closed.labels(value)
        series.take(sum(len(family.samples) for family in self.registry.collect()))

    def expect(self, routes: dict[str, str], models: set[str]) -> None:
        """Start the series of the settings at 0: route path to upstream name, and the models that are named."""
        self._models |= models
        for route, upstream in routes.items():
            self.first_token_of(route)
            for outcome in Outcome:
                if outcome is not Outcome.RUNNING:
                    self.generations_of(route, upstream, outcome.value)
            self.late_of(upstream)
            for basis in ("most", "typical"):
                self.saved_of(upstream, basis)

    def expect_budget(self, budget: Budget) -> None:
        """Start the series of a budget at 0."""
        for limit in budget.limited:
            self.budget_stops_of(budget.per, limit)
            self.budget_refusals_of(budget.per, limit)

    def cancelled(self, dialect: str, cause: Cause, result: str) -> None:
        """A stop was answered."""
        self.cancels_of(dialect, cause.value, result).inc()

    def unconfirmed(self, upstream: str) -> None:
        """A stop of a generation of this upstream could not be confirmed in time."""
        self.unconfirmed_of(upstream).inc()

    def aborted(self, upstream: str, result: str) -> None:
        """An upstream's own abort was called, or could not be."""
        self.aborts_of(upstream, result).inc()

    def ledger(self, pending: int, written: int, failed: int) -> None:
        """How the ledger stands: writes that wait, and its transactions since the start."""
        self.ledger_pending.set(pending)
        for result, total in (("ok", written), ("error", failed)):
            self.ledger_writes.labels(result).inc(total - self._ledger_seen[result])
            self._ledger_seen[result] = total

    def watch_forwarding(self, pending: Callable[[], int], lag: Callable[[], float]) -> None:
        """Ask at each scrape how far the shared ledger is behind."""
        self.forward_pending.set_function(pending)
        self.forward_lag.set_function(lag)

    def interrupted(self, left: Iterable[tuple[str, str]]) -> None:
        """What ran when the last process died was found at this start: route and upstream of each."""
        for route, upstream in left:
            self.generations_of(route, upstream, Outcome.INTERRUPTED.value).inc()

    def left_settled(self, record: Record) -> None:
        """What a dead process left was counted, priced and settled; `interrupted` has told of it as a generation."""
        self._count_use(record)

    def left_stopped(self, left: Iterable[tuple[str, str, str]]) -> None:
        """What was read on behind a stop when the last process died ended at this start: route, upstream, outcome."""
        for route, upstream, outcome in left:
            self.generations_of(route, upstream, outcome).inc()

    def settled(self, record: Record, *, read_on: bool = False) -> None:
        """A generation ended; `read_on`: its upstream was not closed at the stop, on purpose."""
        self.generations_of(record.route, record.upstream, record.outcome.value).inc()
        if record.first_token_at is not None and record.error_kind not in NO_ANSWER:
            self.first_token_of(record.route).observe(max(record.first_token_at - record.started_at, 0.0))
        if record.upstream_closed_ms is not None and not read_on:
            self.cancel_latency.labels("local").observe(record.upstream_closed_ms / 1000)
        if record.error_kind is not None and record.outcome in (Outcome.FAILED, Outcome.TIMED_OUT):
            self.upstream_errors_of(record.upstream, record.error_kind).inc()
        self._count_use(record)
        if record.late_tokens:
            self.late_of(record.upstream).inc(record.late_tokens)
        for basis, saved in (("most", record.saved_most), ("typical", record.saved_typical)):
            if saved:
                self.saved_of(record.upstream, basis).inc(saved)

    def reconciled(self, result: str, record: Record | None, truth: Truth, before: Truth | None = None) -> None:
        """A later truth came in, about a record if there is one; it takes the place of what its source said before."""
        self.truths_of(result).inc()
        if result != "attached" or record is None:
            return
        model, source = self.model_label(record), self._source(truth.source)
        for kind in ("prompt", "completion"):
            name = f"{kind}_tokens"
            ours, theirs = getattr(record, name), getattr(truth, name)
            said = None if before is None else getattr(before, name)
            # As in the report, a newest truth that does not tell takes what was told before out of the comparison.
            drift, gone = (0 if ours is None or each is None else each - ours for each in (theirs, said))
            if ours is not None and (theirs is not None or said is not None):
                self.drift_of(record.upstream, model, source, kind).inc(drift - gone)

    def _source(self, source: str) -> str:
        """The label of who tells later truths: one of the first that did."""
        if source in self._sources or len(self._sources) < MOST_SOURCES:
            self._sources.add(source)
            return source
        return OTHER

    def _count_use(self, record: Record) -> None:
        if record.usage_source is not UsageSource.NONE:
            self._count_tokens(record)
        if record.cost and record.currency is not None:
            # Prometheus knows floats only; what is billed is in the record, to the last digit.
            self.cost_of(record.upstream, self.model_label(record), record.currency or OTHER).inc(float(record.cost))

    def _count_tokens(self, record: Record) -> None:
        model = self.model_label(record)
        counts = record.prompt_tokens, record.completion_tokens, record.cached_tokens, record.reasoning_tokens
        for kind, count in zip(TOKEN_KINDS, counts, strict=True):
            if count:
                self.tokens_of(record.upstream, model, kind, record.usage_source.value).inc(count)

    def model_label(self, record: Record) -> str:
        """The model's label. What a caller merely asked for is none: else anybody could use the names up."""
        model = record.model
        if model is None or model in self._models:
            return model or OTHER
        was_answered = record.first_token_at is not None and record.error_kind is None
        if not was_answered or self._strangers >= OTHER_MODELS or not self._series.has_room(SERIES_OF_MODEL):
            return OTHER
        self._strangers += 1
        self._models.add(model)
        return model
