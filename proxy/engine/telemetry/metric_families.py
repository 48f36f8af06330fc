"""The families of metrics: names, help texts, labels. What counts in them is in `metrics.py`."""

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics

LATENCY: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
FIRST_TOKEN: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)

# When each series began is not told: that would be twice as many series, and nobody asks for it.
disable_created_metrics()  # type: ignore[no-untyped-call]  # prometheus_client has no type for it


class Families:
    """All that a replica exposes, but for the gauges of `live_metrics.py`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self._generations(registry)
        self._use(registry)
        self._upstreams(registry)
        self._records(registry)
        self._replicas(registry)
        self._itself(registry)

    def _generations(self, registry: CollectorRegistry) -> None:
        """Generations, and stops of them."""
        self.active = Gauge(
            "quell_generations_active",
            "Generations that live on this replica now, waiting ones too.",
            registry=registry,
        )
        self.generations = Counter(
            "quell_generations_total",
            "Generations that ended, by how they did.",
            ("route", "upstream", "outcome"),
            registry=registry,
        )
        self.cancels = Counter(
            "quell_cancels_total",
            "Stops that callers and operators asked for, by what they were told of them.",
            ("dialect", "cause", "result"),
            registry=registry,
        )
        self.cancels_unconfirmed = Counter(
            "quell_cancels_unconfirmed_total",
            "Stops that were not confirmed within cancellation.confirm_timeout: not closed, or not on disk by then.",
            ("upstream",),
            registry=registry,
        )
        self.cancel_latency = Histogram(
            "quell_cancel_latency_seconds",
            "Seconds from the moment a stop was accepted until its upstream was closed: here, or asked of its owner.",
            ("scope",),
            buckets=LATENCY,
            registry=registry,
        )
        self.first_token = Histogram(
            "quell_time_to_first_token_seconds",
            "Seconds from the admission of a generation to the first byte of its answer.",
            ("route",),
            buckets=FIRST_TOKEN,
            registry=registry,
        )
        self.overhead = Histogram(
            "quell_proxy_overhead_seconds",
            "Seconds that the proxy itself took: from the request read to the generation admitted.",
            buckets=LATENCY,
            registry=registry,
        )

    def _use(self, registry: CollectorRegistry) -> None:
        """What was used, what that cost, and what budgets made of it."""
        self.tokens = Counter(
            "quell_tokens_total",
            "Tokens of ended generations, by kind and by whose count it is.",
            ("upstream", "model", "kind", "source"),
            registry=registry,
        )
        self.cost = Counter(
            "quell_cost_total",
            "What ended generations cost by the price list; bills are made from records.",
            ("upstream", "model", "currency"),
            registry=registry,
        )
        self.late = Counter(
            "quell_tokens_late_total",
            "Completion tokens that an upstream made behind a stop.",
            ("upstream",),
            registry=registry,
        )
        self.saved = Counter(
            "quell_tokens_saved_total",
            "Completion tokens not made thanks to stops, by what that is judged.",
            ("upstream", "basis"),
            registry=registry,
        )
        self.refusals = Counter(
            "quell_refusals_total",
            "Model calls refused before they became generations, by what was in the way; budgets are counted apart.",
            ("why",),
            registry=registry,
        )
        self.budget_stops = Counter(
            "quell_budget_stops_total", "Generations stopped by a budget.", ("per", "limit"), registry=registry
        )
        self.budget_refusals = Counter(
            "quell_budget_refusals_total", "Calls refused by a budget.", ("per", "limit"), registry=registry
        )

    def _upstreams(self, registry: CollectorRegistry) -> None:
        """What upstreams did."""
        self.aborts = Counter(
            "quell_upstream_aborts_total",
            "Calls of an upstream's own abort behind a stop (on_stop: call), by what came of them.",
            ("upstream", "result"),
            registry=registry,
        )
        self.upstream_errors = Counter(
            "quell_upstream_errors_total",
            "Generations that failed or timed out, by what went wrong.",
            ("upstream", "kind"),
            registry=registry,
        )

    def _records(self, registry: CollectorRegistry) -> None:
        """Where records are kept, and where they go."""
        self.ledger_pending = Gauge(
            "quell_ledger_pending", "Writes of the ledger that wait for the disk.", registry=registry
        )
        self.ledger_writes = Counter(
            "quell_ledger_writes_total",
            "Transactions of the ledger; one that failed is tried again.",
            ("result",),
            registry=registry,
        )
        self.forward_pending = Gauge(
            "quell_ledger_forward_pending", "Records that the shared ledger does not have yet.", registry=registry
        )
        self.forward_lag = Gauge(
            "quell_ledger_forward_lag_seconds",
            "For how long there have been records that the shared ledger does not have.",
            registry=registry,
        )
        self.forward_errors = Counter(
            "quell_ledger_forward_errors_total", "Transactions of the forwarder that failed.", registry=registry
        )
        self.sink_pending = Gauge(
            "quell_sink_pending",
            "Ended records and later truths that the sink was not served yet.",
            registry=registry,
        )
        self.sink_events = Counter(
            "quell_sink_events_total", "Events sent to the sink, by what it said.", ("result",), registry=registry
        )
        self.truths = Counter(
            "quell_truths_total",
            "Later truths that came in, by what became of them.",
            ("result",),
            registry=registry,
        )
        self.drift = Gauge(
            "quell_reconciliation_drift_tokens",
            "Tokens of later truths less our own, of all that came since the start; of each source the newest.",
            ("upstream", "model", "source", "kind"),
            registry=registry,
        )

    def _replicas(self, registry: CollectorRegistry) -> None:
        """Other replicas."""
        self.bus_up = Gauge(
            "quell_bus_up",
            "1 while the bus answers, or none is set; 0 while other replicas can't be reached.",
            registry=registry,
        )
        self.bus_strangers = Gauge(
            "quell_bus_strangers",
            "Replicas on the same bus that sign with another secret.",
            registry=registry,
        )
        self.letters_refused = Counter(
            "quell_bus_letters_refused_total",
            "Letters of other replicas not followed.",
            ("why",),
            registry=registry,
        )
        self.limits_shared = Gauge(
            "quell_limits_shared",
            "1 while limits hold over all replicas, or there is no bus; 0 while this one keeps to its share.",
            registry=registry,
        )
        self.limits_refused = Counter(
            "quell_limits_refused_total", "Entries of shared limits that made no sense.", registry=registry
        )
        self.dead_replicas = Counter(
            "quell_dead_replicas_total",
            "Replicas that this one found dead, and whose generations it ended.",
            registry=registry,
        )

    def _itself(self, registry: CollectorRegistry) -> None:
        """The proxy itself."""
        self.series_dropped = Counter(
            "quell_series_dropped_total",
            "What was counted under the name other because as many series exist as metrics.max_series allows.",
            registry=registry,
        )
        self.reload_success = Gauge(
            "quell_config_reload_success",
            "1 if the last reload of the config file took effect, or there was none; 0 if it was refused.",
            registry=registry,
        )
        self.build = Gauge(
            "quell_build_info", "1, with the version that runs as its label.", ("version",), registry=registry
        )
