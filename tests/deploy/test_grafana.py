"""The Grafana dashboard: it imports as it is, on any instance, and says of each panel what it shows."""

import re

import yaml

from support.dashboard import FILE, GRAFANA, as_queried, dashboard, expressions, panels

SOURCE = {"type": "prometheus", "uid": "${datasource}"}


def test_ids_are_unique_and_panels_do_not_overlap() -> None:
    """No two panels have one id, and none covers another on the grid of 24 columns."""
    shown = dashboard()["panels"]
    assert len({panel["id"] for panel in shown}) == len(shown)
    cells: set[tuple[int, int]] = set()
    for panel in shown:
        at = panel["gridPos"]
        own = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not own & cells, panel["title"]
        assert at["x"] + at["w"] <= 24
        cells |= own


def test_every_panel_asks_the_chosen_data_source() -> None:
    """Panels, their queries and the other variables take the data source that is chosen, whatever its id there."""
    variables = {each["name"]: each for each in dashboard()["templating"]["list"]}
    assert list(variables) == ["datasource", "route", "upstream"]
    assert (variables["datasource"]["type"], variables["datasource"]["query"]) == ("datasource", "prometheus")
    assert all(variables[name]["datasource"] == SOURCE for name in ("route", "upstream"))
    for panel in panels():
        assert panel["datasource"] == SOURCE, panel["title"]
        assert all(target["datasource"] == SOURCE for target in panel["targets"]), panel["title"]
    assert "__inputs" not in dashboard()


def test_every_panel_has_a_unit_and_a_description() -> None:
    """Each says in what it measures and what it means; there are about fifteen."""
    assert 12 <= len(panels()) <= 20
    for panel in panels():
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert len(panel["description"]) > 30, panel["title"]
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"]), panel["title"]


def test_no_variable_is_left_open() -> None:
    """Each variable in an expression is one of Grafana's own or of the dashboard's."""
    for each in expressions():
        assert "$" not in as_queried(each.expression), each
    used = {name for each in expressions() for name in re.findall(r"\$(\w+)", each.expression)}
    assert {"route", "upstream", "__rate_interval", "__range"} == used


def test_provisioning_finds_the_dashboard() -> None:
    """The data source is Prometheus, and the folder of dashboards is where the compose file mounts this one."""
    (source,) = yaml.safe_load((GRAFANA / "provisioning/datasources/prometheus.yml").read_text())["datasources"]
    assert (source["type"], source["url"]) == ("prometheus", "http://prometheus:9090")
    (provider,) = yaml.safe_load((GRAFANA / "provisioning/dashboards/quell.yml").read_text())["providers"]
    assert provider["options"]["path"] == f"/var/lib/grafana/{FILE.parent.name}"
