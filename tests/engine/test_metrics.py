"""The metrics: their names, their types, and that no caller can make series of its own."""

from decimal import Decimal
from typing import Any

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from proxy.core.budget import Budget, Limits
from proxy.core.lifecycle import Cause, Outcome
from proxy.core.record import Record, UsageSource
from proxy.core.settled import Truth
from proxy.engine.telemetry.metrics import OTHER_MODELS, SERIES_OF_MODEL, Metrics
from proxy.engine.upstreams.open_calls import Calls
from support.records import a_record

NAMES = {
    "generations_active": ("gauge", set()),
    "generations_total": ("counter", {"route", "upstream", "outcome"}),
    "cancels_total": ("counter", {"dialect", "cause", "result"}),
    "cancel_latency_seconds": ("histogram", {"scope"}),
    "time_to_first_token_seconds": ("histogram", {"route"}),
    "proxy_overhead_seconds": ("histogram", set()),
    "tokens_total": ("counter", {"upstream", "model", "kind", "source"}),
    "cost_total": ("counter", {"upstream", "model", "currency"}),
    "upstream_errors_total": ("counter", {"upstream", "kind"}),
    "budget_stops_total": ("counter", {"per", "limit"}),
    "budget_refusals_total": ("counter", {"per", "limit"}),
    "upstream_aborts_total": ("counter", {"upstream", "result"}),
    "tokens_late_total": ("counter", {"upstream"}),
    "tokens_saved_total": ("counter", {"upstream", "basis"}),
    "ledger_pending": ("gauge", set()),
    "ledger_writes_total": ("counter", {"result"}),
    "ledger_forward_pending": ("gauge", set()),
    "ledger_forward_lag_seconds": ("gauge", set()),
    "ledger_forward_errors_total": ("counter", set()),
    "bus_up": ("gauge", set()),
    "bus_strangers": ("gauge", set()),
    "limits_shared": ("gauge", set()),
    "bus_letters_refused_total": ("counter", {"why"}),
    "limits_refused_total": ("counter", set()),
    "dead_replicas_total": ("counter", set()),
    "sink_pending": ("gauge", set()),
    "sink_events_total": ("counter", {"result"}),
    "truths_total": ("counter", {"result"}),
    "reconciliation_drift_tokens": ("gauge", {"upstream", "model", "source", "kind"}),
    "config_reload_success": ("gauge", set()),
    "build_info": ("gauge", {"version"}),
    "cancels_unconfirmed_total": ("counter", {"upstream"}),
    "refusals_total": ("counter", {"why"}),
    "series_dropped_total": ("counter", set()),
    "generation_oldest_age_seconds": ("gauge", set()),
    "generations_limit": ("gauge", set()),
    "upstream_calls": ("gauge", {"upstream"}),
    "upstream_calls_read_on": ("gauge", {"upstream"}),
    "upstream_orphans": ("gauge", {"upstream"}),
    "ledger_healthy": ("gauge", set()),
    "draining": ("gauge", set()),
}
"""Every metric that users read of: its type and its labels."""


def ended(model: str | None = "m", **facts: Any) -> Record:
    """The record of an answered generation with token counts."""
    known: dict[str, Any] = {
        "outcome": Outcome.COMPLETED,
        "first_token_at": 1001.5,
        "prompt_tokens": 7,
        "completion_tokens": 5,
        "usage_source": UsageSource.UPSTREAM,
    }
    return a_record(model=model, **(known | facts))


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    """The value of one series, None when there is none."""
    return metrics.registry.get_sample_value(f"quell_{name}", labels)


def models(metrics: Metrics) -> set[str]:
    """The values of the label `model`."""
    return {
        sample.labels["model"]
        for one in metrics.registry.collect()
        for sample in one.samples
        if "model" in sample.labels
    }


def test_every_name_is_there_from_the_start() -> None:
    """All documented metrics are exposed before anything happened, with a help text and the right type."""
    text = generate_latest(Metrics().registry).decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    for name, (kind, _) in NAMES.items():
        family = families[f"quell_{name}".removesuffix("_total") if kind == "counter" else f"quell_{name}"]
        assert (family.type, bool(family.documentation)) == (kind, True), name


def test_labels_are_those_documented() -> None:
    """After a generation of every kind, each series has exactly the documented labels, and no other name exists."""
    metrics = Metrics()
    metrics.settled(ended(outcome=Outcome.CANCELLED, cause=Cause.CLIENT, upstream_closed_ms=1.5))
    metrics.settled(ended(outcome=Outcome.FAILED, error_kind="truncated"))
    metrics.settled(ended(outcome=Outcome.CANCELLED, late_tokens=3, saved_most=80, saved_typical=40))
    metrics.cancelled("native", Cause.CLIENT, "stopped")
    metrics.aborted("openai", "ok")
    metrics.cost.labels("openai", "m", "USD").inc()
    metrics.unconfirmed("openai")
    metrics.live.expect(["openai"], 5000)
    metrics.expect_budget(Budget("key", Limits(completion_tokens=5), 60.0))
    metrics.reconciled("attached", ended(), Truth("bill", 1.0, prompt_tokens=8))
    seen = set()
    for family in metrics.registry.collect():
        for sample in family.samples:
            name = sample.name.removeprefix("quell_")
            if family.type == "histogram":
                name = name.removesuffix("_bucket").removesuffix("_count").removesuffix("_sum")
            assert set(sample.labels) - {"le"} == NAMES[name][1], sample.name
            assert NAMES[name][0] == family.type
            seen.add(name)
    assert seen == set(NAMES)


def drift(metrics: Metrics, kind: str = "completion", source: str = "bill") -> float | None:
    """The drift of the model m from a source."""
    return value(metrics, "reconciliation_drift_tokens", upstream="openai", model="m", source=source, kind=kind)


def test_drift_is_of_what_each_source_said_last() -> None:
    """A truth takes the place of its source's last one and of no other's; sources are few series, however many tell."""
    metrics = Metrics()
    first, second, silent = (Truth("bill", 1.0, completion_tokens=tokens) for tokens in (4, 7, None))
    metrics.reconciled("attached", ended(), first)
    metrics.reconciled("attached", ended(), Truth("router", 1.0, completion_tokens=6), None)
    metrics.reconciled("attached", ended(), second, first)
    assert (drift(metrics), drift(metrics, source="router")) == (2.0, 1.0)
    metrics.reconciled("attached", ended(), silent, second)
    assert drift(metrics) == 0.0
    for number in range(10):
        metrics.reconciled("attached", ended(), Truth(f"s{number}", 1.0, completion_tokens=6))
    assert [drift(metrics, source=source) for source in ("s1", "s2", "other")] == [1.0, None, 8.0]


def test_drift_is_theirs_less_ours() -> None:
    """Attached truths move the drift of their model by what both sides know; nothing else does, and all are counted."""
    metrics = Metrics()
    metrics.reconciled("attached", ended(), Truth("bill", 1.0, prompt_tokens=10, completion_tokens=4))
    metrics.reconciled("attached", ended(prompt_tokens=None), Truth("bill", 1.0, prompt_tokens=99, cached_tokens=1))
    metrics.reconciled("unchanged", ended(), Truth("bill", 1.0, prompt_tokens=10))
    metrics.reconciled("unknown", None, Truth("bill", 1.0, prompt_tokens=10))
    for kind, expected in (("prompt", 3.0), ("completion", -1.0)):
        assert drift(metrics, kind) == expected
    for result, expected in (("attached", 2.0), ("unchanged", 1.0), ("unknown", 1.0)):
        assert value(metrics, "truths_total", result=result) == expected


def test_what_stops_saved_and_what_came_late() -> None:
    """Tokens are summed by what the saving is judged by; the time of a close that was waited for is no latency."""
    metrics = Metrics()
    stopped: dict[str, Any] = {"outcome": Outcome.CANCELLED, "upstream_closed_ms": 9000.0}
    metrics.settled(ended(**stopped, late_tokens=3, saved_most=0, saved_typical=0), read_on=True)
    metrics.settled(ended(**stopped, saved_most=80, saved_typical=40))
    metrics.settled(ended(**stopped, saved_most=20))
    assert value(metrics, "tokens_late_total", upstream="openai") == 3
    assert value(metrics, "tokens_saved_total", upstream="openai", basis="most") == 100
    assert value(metrics, "tokens_saved_total", upstream="openai", basis="typical") == 40
    assert value(metrics, "cancel_latency_seconds_count", scope="local") == 2


def test_the_settings_series_start_at_zero() -> None:
    """The series of each route exist from the start, so that a first event is seen as a rise."""
    metrics = Metrics()
    metrics.expect({"/v1": "up"}, {"named"})
    for outcome in Outcome:
        expected = None if outcome is Outcome.RUNNING else 0.0
        assert value(metrics, "generations_total", route="/v1", upstream="up", outcome=outcome.value) == expected
    assert value(metrics, "time_to_first_token_seconds_count", route="/v1") == 0.0
    assert value(metrics, "cancel_latency_seconds_count", scope="local") == 0.0
    assert value(metrics, "tokens_late_total", upstream="up") == 0.0
    assert value(metrics, "tokens_saved_total", upstream="up", basis="typical") == 0.0


def test_an_end_is_counted() -> None:
    """An ended generation is counted once, with its tokens, its first token and the time its stop took."""
    metrics = Metrics()
    metrics.settled(ended("m", outcome=Outcome.CANCELLED, upstream_closed_ms=2.0, cached_tokens=0, reasoning_tokens=3))
    assert value(metrics, "generations_total", route="/v1", upstream="openai", outcome="cancelled") == 1.0
    for kind, count in (("prompt", 7.0), ("completion", 5.0), ("reasoning", 3.0), ("cached", None)):
        assert value(metrics, "tokens_total", upstream="openai", model="m", kind=kind, source="upstream") == count
    assert value(metrics, "time_to_first_token_seconds_sum", route="/v1") == pytest.approx(1.5)
    assert value(metrics, "cancel_latency_seconds_sum", scope="local") == pytest.approx(0.002)


def test_an_error_answer_has_no_first_token() -> None:
    """The bytes of an error are no token: they don't make the upstream look fast."""
    metrics = Metrics()
    for kind in ("rejected_upstream", "upstream_error"):
        metrics.settled(ended(outcome=Outcome.FAILED, error_kind=kind))
        assert value(metrics, "upstream_errors_total", upstream="openai", kind=kind) == 1.0
    assert value(metrics, "time_to_first_token_seconds_count", route="/v1") is None


def test_unknown_usage_is_not_counted() -> None:
    """Without a count nothing is added, not even a 0."""
    metrics = Metrics()
    metrics.settled(ended(prompt_tokens=None, completion_tokens=None, usage_source=UsageSource.NONE))
    assert models(metrics) == set()


def test_models_are_few() -> None:
    """Of models that no setting names the first sixteen that answered are shown, the rest is `other`."""
    metrics = Metrics()
    metrics.expect({}, {"named"})
    for number in range(OTHER_MODELS + 5):
        metrics.settled(ended(f"m-{number}"))
    for model in ("named", "m-0", None):
        metrics.settled(ended(model))
    assert models(metrics) == {"named", "other", *(f"m-{number}" for number in range(16))}
    assert value(metrics, "tokens_total", upstream="openai", model="m-0", kind="prompt", source="upstream") == 14.0
    assert value(metrics, "tokens_total", upstream="openai", model="other", kind="prompt", source="upstream") == 42.0


@pytest.mark.parametrize(
    "facts",
    [
        {"outcome": Outcome.FAILED, "error_kind": "rejected_upstream"},
        {"outcome": Outcome.FAILED, "error_kind": "upstream_error"},
        {"outcome": Outcome.FAILED, "error_kind": "unreachable", "first_token_at": None},
        {"outcome": Outcome.CANCELLED, "first_token_at": None},
        {"outcome": Outcome.CLIENT_GONE, "first_token_at": None},
    ],
)
def test_a_model_must_have_answered(facts: dict[str, Any]) -> None:
    """A model that a caller only asked for gets no series, so nobody can use up the sixteen names."""
    metrics = Metrics()
    for number in range(30):
        metrics.settled(ended(f"made-up-{number}", **facts))
    assert models(metrics) == {"other"}
    metrics.settled(ended("real"))
    metrics.settled(ended("stopped", outcome=Outcome.CANCELLED))
    assert models(metrics) == {"other", "real", "stopped"}


def series(metrics: Metrics) -> int:
    """How many series there are."""
    return sum(len(family.samples) for family in metrics.registry.collect())


def test_models_get_no_series_that_there_is_no_room_for() -> None:
    """With room for two models, the first two that no setting names are shown, and all others are `other`."""
    others = 15 + 1  # the first token and the outcome make series too, but of no model
    metrics = Metrics(max_series=series(Metrics()) + others + 2 * SERIES_OF_MODEL)
    for number in range(9):
        metrics.settled(ended(f"m-{number}", cached_tokens=1, reasoning_tokens=1, cost=Decimal(1), currency="USD"))
    shown = models(metrics) - {"other"}
    assert {"m-0", "m-1"} <= shown < {f"m-{number}" for number in range(9)}
    assert "other" in models(metrics)


def test_the_bound_on_series_holds() -> None:
    """Whatever the settings name, there are hardly more series than the bound; what is over it is counted as such."""
    metrics, most = Metrics(max_series=500), 500
    for number in range(100):
        metrics.expect({f"/r{number}": f"up{number}"}, {f"m{number}"})
        metrics.settled(ended(f"m{number}", route=f"/r{number}", upstream=f"up{number}"))
    others = {"route": "other", "upstream": "other"}
    assert most - 20 < series(metrics) < most + 40
    assert value(metrics, "generations_total", **others, outcome="completed") == 100 - sum(
        value(metrics, "generations_total", route=f"/r{number}", upstream=f"up{number}", outcome="completed") or 0
        for number in range(100)
    )
    assert (value(metrics, "series_dropped_total") or 0) > 100


def test_what_fits_is_not_counted_as_dropped() -> None:
    """Under the bound nothing is told under `other`, however often it is counted."""
    metrics = Metrics()
    for _ in range(3):
        metrics.expect({"/v1": "openai"}, {"m"})
        metrics.settled(ended())
    assert value(metrics, "series_dropped_total") == 0
    assert value(metrics, "generations_total", route="/v1", upstream="openai", outcome="completed") == 3


def test_what_is_true_now_is_as_last_looked_at() -> None:
    """Gauges of what is open have one series for each upstream of the settings or of a call, 0 when none is open."""
    metrics = Metrics()
    metrics.live.expect(["a"], 20)
    metrics.live.look(oldest=7.5, takes_work=False, calls={"b": Calls(open=3, orphans=1, read_on=2)})
    for upstream, found in (("a", [0, 0, 0]), ("b", [3, 1, 2])):
        names = ("upstream_calls", "upstream_orphans", "upstream_calls_read_on")
        assert [value(metrics, name, upstream=upstream) for name in names] == found
    singles = ("generation_oldest_age_seconds", "generations_limit", "ledger_healthy", "draining")
    assert [value(metrics, name) for name in singles] == [7.5, 20, 0, 0]
    metrics.live.look(oldest=0, takes_work=True, calls={})
    assert value(metrics, "upstream_orphans", upstream="b") == 0
    assert value(metrics, "ledger_healthy") == 1


def test_the_ledger_is_counted_by_difference() -> None:
    """However often it is told the totals so far, each transaction of the ledger counts once."""
    metrics = Metrics()
    for pending, written, failed in ((3, 0, 0), (2, 5, 1), (0, 5, 1), (1, 9, 2)):
        metrics.ledger(pending, written, failed)
    found = [value(metrics, "ledger_writes_total", result=result) for result in ("ok", "error")]
    assert (value(metrics, "ledger_pending"), found) == (1, [9, 2])


def test_costs_are_counted_by_model_and_currency() -> None:
    """A cost is counted once its record is settled; one that is unknown or nothing makes no series."""
    metrics = Metrics()
    metrics.expect({}, {"m"})
    for cost in (Decimal("0.25"), Decimal("0.5"), Decimal(0), None):
        metrics.settled(ended(cost=cost, currency=None if cost is None else "USD"))
    metrics.settled(ended("n", error_kind="truncated", cost=Decimal(1), currency="USD"))
    assert value(metrics, "cost_total", upstream="openai", model="m", currency="USD") == 0.75
    assert value(metrics, "cost_total", upstream="openai", model="other", currency="USD") == 1.0
    assert len(next(iter(metrics.cost.collect())).samples) == 2
