"""The compose files for one proxy: in front of a provider, and the demo with Prometheus and Grafana."""

import re
from typing import Any

import click
import pytest
import yaml

from proxy.cli import main
from proxy.cli.demo_settings import demo_settings
from proxy.core.settings.settings import DrainSettings
from support.deploy_files import DEPLOY, LAST_RECORDS, seconds, tool

FILES = ("compose.yaml", "compose.demo.yaml", "compose.replicas.yaml")
ALONE = ("compose.yaml", "compose.demo.yaml")


def services(file: str) -> dict[str, Any]:
    """The services of a compose file."""
    found: dict[str, Any] = yaml.safe_load((DEPLOY / file).read_text())["services"]
    return found


@pytest.mark.parametrize("file", FILES)
def test_the_file_is_valid(file: str) -> None:
    """It fits the schema of the compose specification."""
    assert not tool("check-jsonschema", "--builtin-schema", "vendor.compose-spec", f"deploy/{file}")


@pytest.mark.parametrize("file", ALONE)
def test_it_waits_for_the_drain(file: str) -> None:
    """Docker kills only after the drain and the last records had their time."""
    drain = DrainSettings()
    assert seconds(services(file)["quell"]["stop_grace_period"]) >= drain.ready_delay + drain.timeout + LAST_RECORDS


@pytest.mark.parametrize("file", ALONE)
def test_it_needs_nothing_to_be_set(file: str) -> None:
    """No variable without a default is asked for, so that no .env is needed."""
    found = re.findall(r"\$\{?(\w+)([^}\n]*)\}?", re.sub(r"#.*", "", (DEPLOY / file).read_text()))
    assert [name for name, rest in found if not rest.startswith(":-")] == []


@pytest.mark.parametrize("file", FILES)
def test_what_it_mounts_is_in_the_repository(file: str) -> None:
    """Docker would make an empty folder of what is missing."""
    for service in services(file).values():
        for source in (each.split(":")[0] for each in service.get("volumes", ())):
            assert not source.startswith(".") or (DEPLOY / source).exists(), source


@pytest.mark.parametrize("file", FILES)
def test_it_is_published_on_this_machine_alone(file: str) -> None:
    """No port is open to the network, and nothing runs with more rights than it needs."""
    for name, service in services(file).items():
        assert [each for each in service.get("ports", ()) if not each.startswith("127.0.0.1:")] == [], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        if name.startswith("quell"):
            assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])


@pytest.mark.parametrize("file", FILES)
def test_images_of_others_have_a_version(file: str) -> None:
    """Every image that is not made here has a tag that says what it is."""
    images = [each["image"] for each in services(file).values() if "build" not in each]
    assert [image for image in images if not re.search(r":v?\d", image)] == []


def test_the_demo_is_started_as_the_program_knows_it() -> None:
    """The command of the demo's service is one of the program's, and its ports are those that are published."""
    service = services("compose.demo.yaml")["quell"]
    name, *arguments = service["command"]
    command = main.get_command(click.Context(main), name)
    assert command is not None
    context = command.make_context(name, list(arguments))
    assert str(context.params["listen"]) == "0.0.0.0:8484"
    assert str(context.params["admin_listen"]) == "0.0.0.0:8485"
    published = {each.rpartition(":")[2] for each in service["ports"]}
    assert published == {"8484", "8485"}
    assert demo_settings({}).drain.timeout == DrainSettings().timeout


def test_the_demo_begins_in_order() -> None:
    """Prometheus waits for a proxy that serves, Grafana for a Prometheus that does, and both can be asked."""
    found = services("compose.demo.yaml")
    waits = {name: each.get("depends_on", {}) for name, each in found.items()}
    assert waits["prometheus"] == {"quell": {"condition": "service_healthy"}}
    assert waits["grafana"] == {"prometheus": {"condition": "service_healthy"}}
    assert all("healthcheck" in found[name] for name in ("prometheus", "grafana"))


def test_prometheus_finds_the_demo() -> None:
    """Prometheus looks for the proxy by the name that its service has, at its admin port."""
    scrape = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())["scrape_configs"]
    found = [(name, each["port"]) for job in scrape for each in job["dns_sd_configs"] for name in each["names"]]
    assert found == [("quell", 8485)]
