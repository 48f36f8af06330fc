"""The dashboard that is shipped, as Grafana would read it: its panels, and what they ask Prometheus."""

import json
from dataclasses import dataclass
from typing import Any

from support.deploy_files import DEPLOY

GRAFANA = DEPLOY / "grafana"
FILE = GRAFANA / "dashboards" / "quell.json"


@dataclass(frozen=True, slots=True)
class Asked:
    """What a panel asks."""

    panel: str
    expression: str


def dashboard() -> dict[str, Any]:
    """The whole file."""
    read: dict[str, Any] = json.loads(FILE.read_text())
    return read


def panels() -> list[dict[str, Any]]:
    """Its panels, without the rows that only head them."""
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def expressions() -> list[Asked]:
    """Everything that its panels ask."""
    return [Asked(panel["title"], target["expr"]) for panel in panels() for target in panel["targets"]]


def as_queried(expression: str) -> str:
    """An expression with Grafana's variables filled in: everything, over a few seconds."""
    filled = expression.replace("$__rate_interval", "10s").replace("$__range", "1m")
    return filled.replace("$route", ".*").replace("$upstream", ".*")
