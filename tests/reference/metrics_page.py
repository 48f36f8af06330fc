"""The page of the metrics: what the registry has, with its help, its labels and what these may be."""

from typing import Any, Final

from proxy.core.letters import WHY
from proxy.core.lifecycle import Cause, Outcome
from proxy.core.record import UsageSource
from proxy.engine.telemetry.metrics import REFUSALS, Metrics

_LABELS: Final[dict[str, str]] = {
    "route": "a route's path",
    "upstream": "an upstream's name",
    "outcome": "how it ended: " + ", ".join(f"`{each}`" for each in Outcome if each is not Outcome.RUNNING),
    "dialect": "by which API the stop came: a dialect's name, or `native`",
    "cause": "who or what stopped it: " + ", ".join(f"`{each}`" for each in Cause),
    "scope": "`local`: measured where the generation runs; `remote`: by the replica that asked that one",
    "model": "a model that the settings or the prices name, one of the first 16 others that answered, or `other`",
    "kind": "of tokens `prompt`, `completion`, `cached`, `reasoning`; of errors how the upstream failed",
    "source": "of tokens who counted: " + ", ".join(f"`{each}`" for each in UsageSource) + "; of drift who told",
    "currency": "in three letters",
    "basis": "`most`: a bound; `typical`: by the usual length of that model's answers",
    "per": "what the budget counts: `request`, `key`, `user`",
    "limit": "what was used up: `seconds`, `completion_tokens`, `cost`",
    "result": "what came of it",
    "why": "of letters "
    + ", ".join(f"`{each}`" for each in sorted(WHY))
    + "; of refusals "
    + ", ".join(f"`{each}`" for each in sorted(REFUSALS)),
    "version": "the program's",
}
_NOTES: Final[dict[str, str]] = {
    "quell_generations_total": "`interrupted` is counted at the start after a kill.",
    "quell_tokens_total": "What a kill cut off is counted behind the next start.",
    "quell_upstream_aborts_total": "`ok`, `refused`, `timeout`, `unnamed`, or how it failed.",
    "quell_sink_events_total": "`delivered`, `failed`, `refused`.",
}
_HEAD: Final = """\
# Metrics

`GET /metrics` on the admin listener, in Prometheus' text format. It needs no token and calls no upstream. With several
workers each has a port of its own: scrape them all. Series are few: labels are closed sets, or come from the settings.
"""


def metrics_page() -> str:
    """The page.

    Raises:
        ValueError: a metric has a label of which nothing is said here, or a note is about none.
    """
    metrics = sorted(_metrics(), key=lambda each: str(each._name))
    rows = [_row(each) for each in metrics]
    used = {label for each in metrics for label in each._labelnames}
    if lost := used ^ set(_LABELS):
        raise ValueError(f"labels without a meaning, or meanings without a label: {sorted(lost)}")
    if lost := set(_NOTES) - {served_name(each) for each in metrics}:
        raise ValueError(f"notes about no metric: {sorted(lost)}")
    labels = [f"| `{label}` | {_LABELS[label]} |" for label in sorted(used)]
    return "\n".join(
        [
            _HEAD,
            "| metric | type | labels | meaning |",
            "|---|---|---|---|",
            *rows,
            "",
            "## Labels",
            "",
            "| label | what it may be |",
            "|---|---|",
            *labels,
            "",
        ]
    )


def _metrics() -> list[Any]:
    """What a replica's registry has."""
    return [each for each in Metrics().registry._collector_to_names if hasattr(each, "_type")]


def served_name(metric: Any) -> str:
    """The name under which Prometheus has it."""
    return str(metric._name) + ("_total" if metric._type == "counter" else "")


def _row(metric: Any) -> str:
    name = served_name(metric)
    labels = ", ".join(f"`{each}`" for each in metric._labelnames)
    meaning = " ".join(filter(None, (str(metric._documentation), _NOTES.get(name, ""))))
    return f"| `{name}` | {metric._type} | {labels} | {meaning} |"
