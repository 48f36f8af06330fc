"""Gauges of what is true now, looked at on the event loop just before each scrape: between two they cost nothing."""

from collections.abc import Iterable, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, Gauge

from proxy.engine.telemetry.series import Series
from proxy.engine.upstreams.open_calls import Calls

NO_CALLS: Final = Calls()


class LiveMetrics:
    """This replica as it stands."""

    def __init__(self, registry: CollectorRegistry, series: Series) -> None:
        self.oldest = Gauge(
            "quell_generation_oldest_age_seconds",
            "How long the oldest generation that lives here has lived; 0 when there is none.",
            registry=registry,
        )
        self.limit = Gauge(
            "quell_generations_limit",
            "Generations that may live here at once: limits.streams of the settings.",
            registry=registry,
        )
        self.calls = Gauge(
            "quell_upstream_calls",
            "Calls of an upstream that are open now, for generations that live or that it works on all the same.",
            ("upstream",),
            registry=registry,
        )
        self.read_on = Gauge(
            "quell_upstream_calls_read_on",
            "Open calls whose generation was stopped, and that are read on for their usage (on_stop: drain).",
            ("upstream",),
            registry=registry,
        )
        self.orphans = Gauge(
            "quell_upstream_orphans",
            "Calls still open 5 s after their generation ended, or after what may be read on: nobody wants them.",
            ("upstream",),
            registry=registry,
        )
        self.ledger_healthy = Gauge(
            "quell_ledger_healthy",
            "1 while the ledger takes new work; 0 while generations are refused because it can't record them.",
            registry=registry,
        )
        self.draining = Gauge(
            "quell_draining",
            "1 from SIGTERM on, while this replica finishes what runs and is not ready for new work; else 0.",
            registry=registry,
        )
        # Upstreams are few, and an orphan under `other` would help nobody: these names are never dropped.
        self._calls_of = series.of(self.calls)
        self._read_on_of = series.of(self.read_on)
        self._orphans_of = series.of(self.orphans)
        self._upstreams: set[str] = set()
        self.ledger_healthy.set(1)

    def expect(self, upstreams: Iterable[str], limit: int) -> None:
        """Take the settings: the upstreams' series begin at 0, and so many generations may live at once."""
        self.limit.set(limit)
        self.look_at_calls(dict.fromkeys(upstreams, NO_CALLS))

    def look(self, *, oldest: float, takes_work: bool, calls: Mapping[str, Calls]) -> None:
        """See what is true now.

        Args:
            oldest: seconds since the oldest generation that lives was admitted; 0 for none.
            takes_work: whether the ledger does.
            calls: the open calls, by upstream.
        """
        self.oldest.set(oldest)
        self.ledger_healthy.set(takes_work)
        self.look_at_calls(calls)

    def look_at_calls(self, calls: Mapping[str, Calls]) -> None:
        """Tell of the open calls; an upstream that was known before and has none now has 0."""
        self._upstreams.update(calls)
        for upstream in self._upstreams:
            now = calls.get(upstream, NO_CALLS)
            self._calls_of(upstream).set(now.open)
            self._read_on_of(upstream).set(now.read_on)
            self._orphans_of(upstream).set(now.orphans)
