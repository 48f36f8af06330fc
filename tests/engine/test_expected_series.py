"""The series that settings let expect: there at 0 before anything happened."""

from pathlib import Path

from proxy.core.errors import UpstreamErrorKind
from proxy.engine.telemetry.expected_series import expect
from proxy.engine.telemetry.metrics import Metrics
from support.deploy_files import settings_of
from support.program import config_text

CONFIG = config_text(
    "http://127.0.0.1:9/v1",
    upstream={"on_stop": "call", "abort": {"path": "/abort", "body": '{"id": "{{upstream_id}}"}'}},
    route={"dialect": ["dify", "openai"], "model": "named"},
)


def test_closed_sets_begin_at_zero(tmp_path: Path) -> None:
    """Stops of each dialect, errors and aborts of each upstream, tokens of each route's model: all at 0."""
    file = tmp_path / "quell.yaml"
    file.write_text(CONFIG)
    metrics = Metrics()
    expect(metrics, settings_of(file), {"named"})

    def value(name: str, **labels: str) -> float | None:
        return metrics.registry.get_sample_value(f"quell_{name}", labels)

    for dialect in ("native", "openai", "dify"):
        for result in ("stopped", "stopping", "already_finished", "unknown_id", "foreign_user", "bus_unavailable"):
            assert value("cancels_total", dialect=dialect, cause="client", result=result) == 0
    assert value("cancels_total", dialect="admin", cause="operator", result="stopped") == 0
    for kind in (*UpstreamErrorKind, "upstream_error", "rejected_upstream"):
        assert value("upstream_errors_total", upstream="up", kind=str(kind)) == 0
    for result in ("ok", "refused", "timeout", "unnamed"):
        assert value("upstream_aborts_total", upstream="up", result=result) == 0
    for kind in ("prompt", "completion", "cached", "reasoning"):
        assert value("tokens_total", upstream="up", model="named", kind=kind, source="estimate") == 0
    assert value("cancels_unconfirmed_total", upstream="up") == 0
    assert value("upstream_orphans", upstream="up") == 0
    assert value("truths_total", result="attached") == 0
    assert value("generations_limit") == 5000
    assert value("cancel_latency_seconds_count", scope="remote") is None
    assert value("series_dropped_total") == 0
