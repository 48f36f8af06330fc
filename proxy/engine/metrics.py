"""The metrics, all names of the contract. Labels are closed sets or come from the settings, so that series stay few."""

from collections.abc import Callable, Iterable
from functools import cache

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from proxy import __version__
from proxy.core.budget import Budget
from proxy.core.letters import WHY
from proxy.core.lifecycle import Cause, Outcome
from proxy.core.record import Record, UsageSource
from proxy.core.settled import Truth

LATENCY = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
FIRST_TOKEN = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
OTHER_MODELS = 16
"""So many models that no setting names are shown by name, the first ones that were answered."""
OTHER = "other"
MOST_SOURCES = 4
"""So many that tell later truths are shown by name, the first ones that did."""
SERIES_OF_MODEL = 28
"""So many series a model may make: kinds and sources of tokens, its cost, and its drift from each that tells."""
SINK_RESULTS = ("delivered", "failed", "refused")
"""What becomes of events that are sent: refused ones would be refused again as they are."""
NO_ANSWER = frozenset({"rejected_upstream", "upstream_error"})
"""Error kinds of answers that are themselves errors, as soon as they may come."""


class Metrics:
    """This replica's metrics, in a registry of their own."""

    def __init__(self, max_series: int = 5000) -> None:
        self.registry = CollectorRegistry()
        self._models: set[str] = set()
        self._strangers = 0
        self._sources: set[str] = set()
        self._max_series = max_series
        self.active = Gauge("quell_generations_active", "Generations that live now.", registry=self.registry)
        self.generations = Counter(
            "quell_generations_total", "Ended generations.", ("route", "upstream", "outcome"), registry=self.registry
        )
        self.cancels = Counter(
            "quell_cancels_total", "Stops asked for.", ("dialect", "cause", "result"), registry=self.registry
        )
        self.cancel_latency = Histogram(
            "quell_cancel_latency_seconds",
            "Stop accepted to upstream closed.",
            ("scope",),
            buckets=LATENCY,
            registry=self.registry,
        )
        self.first_token = Histogram(
            "quell_time_to_first_token_seconds",
            "Admission to first byte.",
            ("route",),
            buckets=FIRST_TOKEN,
            registry=self.registry,
        )
        self.overhead = Histogram(
            "quell_proxy_overhead_seconds",
            "Request read to generation admitted.",
            buckets=LATENCY,
            registry=self.registry,
        )
        self.tokens = Counter(
            "quell_tokens_total", "Tokens.", ("upstream", "model", "kind", "source"), registry=self.registry
        )
        self.cost = Counter("quell_cost_total", "Cost.", ("upstream", "model", "currency"), registry=self.registry)
        self.late = Counter(
            "quell_tokens_late_total", "Completion tokens made behind a stop.", ("upstream",), registry=self.registry
        )
        self.saved = Counter(
            "quell_tokens_saved_total",
            "Completion tokens not made thanks to stops, by what that is judged.",
            ("upstream", "basis"),
            registry=self.registry,
        )
        self.aborts = Counter(
            "quell_upstream_aborts_total",
            "Calls of an upstream's own abort.",
            ("upstream", "result"),
            registry=self.registry,
        )
        self.upstream_errors = Counter(
            "quell_upstream_errors_total", "Failures of upstreams.", ("upstream", "kind"), registry=self.registry
        )
        self.budget_stops = Counter(
            "quell_budget_stops_total", "Generations stopped by a budget.", ("per", "limit"), registry=self.registry
        )
        self.budget_refusals = Counter(
            "quell_budget_refusals_total", "Calls refused by a budget.", ("per", "limit"), registry=self.registry
        )
        self.ledger_pending = Gauge("quell_ledger_pending", "Writes that wait for the disk.", registry=self.registry)
        self.ledger_writes = Counter(
            "quell_ledger_writes_total", "Transactions of the ledger.", ("result",), registry=self.registry
        )
        self.forward_pending = Gauge(
            "quell_ledger_forward_pending", "Records that the shared ledger does not have yet.", registry=self.registry
        )
        self.forward_lag = Gauge(
            "quell_ledger_forward_lag_seconds",
            "For how long there have been records that the shared ledger does not have.",
            registry=self.registry,
        )
        self.forward_errors = Counter(
            "quell_ledger_forward_errors_total", "Transactions of the forwarder that failed.", registry=self.registry
        )
        self.bus_up = Gauge("quell_bus_up", "Whether the bus answers; 1 without one.", registry=self.registry)
        self.bus_strangers = Gauge(
            "quell_bus_strangers",
            "Replicas on the same bus that sign with another secret.",
            registry=self.registry,
        )
        self.letters_refused = Counter(
            "quell_bus_letters_refused_total",
            "Letters of other replicas not followed.",
            ("why",),
            registry=self.registry,
        )
        self.limits_shared = Gauge(
            "quell_limits_shared", "Whether limits hold over all replicas; 1 without a bus.", registry=self.registry
        )
        self.limits_refused = Counter(
            "quell_limits_refused_total", "Entries of shared limits that made no sense.", registry=self.registry
        )
        self.dead_replicas = Counter(
            "quell_dead_replicas_total",
            "Replicas that this one found dead, and whose generations it ended.",
            registry=self.registry,
        )
        self.reload_success = Gauge(
            "quell_config_reload_success", "Whether the last reload took effect.", registry=self.registry
        )
        self.sink_pending = Gauge(
            "quell_sink_pending",
            "Ended records and later truths that the sink was not served yet.",
            registry=self.registry,
        )
        self.sink_events = Counter("quell_sink_events_total", "Events sent.", ("result",), registry=self.registry)
        self.truths = Counter("quell_truths_total", "Later truths that came in.", ("result",), registry=self.registry)
        self.drift = Gauge(
            "quell_reconciliation_drift_tokens",
            "Tokens of later truths less our own, of all that came since the start; of each source the newest.",
            ("upstream", "model", "source", "kind"),
            registry=self.registry,
        )
        self.build = Gauge("quell_build_info", "The version.", ("version",), registry=self.registry)
        # Looking a series up by its labels takes three times as long as counting in it.
        self._generations_of = cache(self.generations.labels)
        self._first_token_of = cache(self.first_token.labels)
        self._tokens_of = cache(self.tokens.labels)
        self._cost_of = cache(self.cost.labels)
        self.build.labels(__version__).set(1)
        self.bus_up.set(1)
        self.limits_shared.set(1)
        for why in WHY:
            self.letters_refused.labels(why)
        self.reload_success.set(1)
        self.cancel_latency.labels("local")
        self._ledger_seen = {"ok": 0, "error": 0}
        for result in self._ledger_seen:
            self.ledger_writes.labels(result)
        for result in SINK_RESULTS:
            self.sink_events.labels(result)

    def expect(self, routes: dict[str, str], models: set[str]) -> None:
        """Start the series of the settings at 0: route path to upstream name, and the models that are named."""
        self._models |= models
        for route, upstream in routes.items():
            self.first_token.labels(route)
            self.late.labels(upstream)
            for basis in ("most", "typical"):
                self.saved.labels(upstream, basis)
            for outcome in Outcome:
                if outcome is not Outcome.RUNNING:
                    self.generations.labels(route, upstream, outcome.value)

    def expect_budget(self, budget: Budget) -> None:
        """Start the series of a budget at 0."""
        for limit in budget.limited:
            self.budget_stops.labels(budget.per, limit)
            self.budget_refusals.labels(budget.per, limit)

    def cancelled(self, dialect: str, cause: Cause, result: str) -> None:
        """A stop was answered."""
        self.cancels.labels(dialect, cause.value, result).inc()

    def aborted(self, upstream: str, result: str) -> None:
        """An upstream's own abort was called, or could not be."""
        self.aborts.labels(upstream, result).inc()

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
            self._generations_of(route, upstream, Outcome.INTERRUPTED.value).inc()

    def left_settled(self, record: Record) -> None:
        """What a dead process left was counted, priced and settled; `interrupted` has told of it as a generation."""
        self._count_use(record)

    def left_stopped(self, left: Iterable[tuple[str, str, str]]) -> None:
        """What was read on behind a stop when the last process died ended at this start: route, upstream, outcome."""
        for route, upstream, outcome in left:
            self._generations_of(route, upstream, outcome).inc()

    def settled(self, record: Record, *, read_on: bool = False) -> None:
        """A generation ended; `read_on`: its upstream was not closed at the stop, on purpose."""
        self._generations_of(record.route, record.upstream, record.outcome.value).inc()
        if record.first_token_at is not None and record.error_kind not in NO_ANSWER:
            self._first_token_of(record.route).observe(max(record.first_token_at - record.started_at, 0.0))
        if record.upstream_closed_ms is not None and not read_on:
            self.cancel_latency.labels("local").observe(record.upstream_closed_ms / 1000)
        if record.error_kind is not None and record.outcome in (Outcome.FAILED, Outcome.TIMED_OUT):
            self.upstream_errors.labels(record.upstream, record.error_kind).inc()
        self._count_use(record)
        if record.late_tokens:
            self.late.labels(record.upstream).inc(record.late_tokens)
        for basis, saved in (("most", record.saved_most), ("typical", record.saved_typical)):
            if saved:
                self.saved.labels(record.upstream, basis).inc(saved)

    def reconciled(self, result: str, record: Record | None, truth: Truth, before: Truth | None = None) -> None:
        """A later truth came in, about a record if there is one; it takes the place of what its source said before."""
        self.truths.labels(result).inc()
        if result != "attached" or record is None:
            return
        model, source = self._model(record), self._source(truth.source)
        for kind in ("prompt", "completion"):
            name = f"{kind}_tokens"
            ours, theirs = getattr(record, name), getattr(truth, name)
            said = None if before is None else getattr(before, name)
            # As in the report, a newest truth that does not tell takes what was told before out of the comparison.
            drift, gone = (0 if ours is None or each is None else each - ours for each in (theirs, said))
            if ours is not None and (theirs is not None or said is not None):
                self.drift.labels(record.upstream, model, source, kind).inc(drift - gone)

    def _source(self, source: str) -> str:
        """The label of who tells later truths: one of the first that did."""
        if source in self._sources or len(self._sources) < MOST_SOURCES:
            self._sources.add(source)
            return source
        return OTHER

    def _count_use(self, record: Record) -> None:
        if record.usage_source is not UsageSource.NONE:
            self._count_tokens(record)
        if record.cost:
            # Prometheus knows floats only; what is billed is in the record, to the last digit.
            self._cost_of(record.upstream, self._model(record), record.currency).inc(float(record.cost))

    def _count_tokens(self, record: Record) -> None:
        model = self._model(record)
        for kind, count in (
            ("prompt", record.prompt_tokens),
            ("completion", record.completion_tokens),
            ("cached", record.cached_tokens),
            ("reasoning", record.reasoning_tokens),
        ):
            if count:
                self._tokens_of(record.upstream, model, kind, record.usage_source.value).inc(count)

    def _model(self, record: Record) -> str:
        """The model's label. What a caller merely asked for is none: else anybody could use the names up."""
        model = record.model
        if model is None or model in self._models:
            return model or OTHER
        was_answered = record.first_token_at is not None and record.error_kind is None
        if (
            not was_answered
            or self._strangers >= OTHER_MODELS
            or (len(self._models) + 1) * SERIES_OF_MODEL > self._max_series
        ):
            return OTHER
        self._strangers += 1
        self._models.add(model)
        return model
