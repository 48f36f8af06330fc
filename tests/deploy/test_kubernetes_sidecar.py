"""The sidecar's manifests, held against the program."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from support.deploy_files import DEPLOY, LAST_RECORDS, settings_of
from support.kustomize import Built, build
from support.program import ROOT

EXAMPLE = ROOT / "config" / "sidecar.yaml"
OVERLAYS = ("sidecar", "sidecar-monitored")


def overlay(name: str) -> Built:
    """What an overlay makes."""
    return build(DEPLOY / "kubernetes" / "overlays" / name)


def pod(built: Built) -> dict[str, Any]:
    """The application's pod."""
    spec: dict[str, Any] = built.one("Deployment")["spec"]["template"]["spec"]
    return spec


def sidecar(built: Built) -> dict[str, Any]:
    """The sidecar in it."""
    [found] = pod(built)["initContainers"]
    assert isinstance(found, dict)
    return found


def config(built: Built) -> dict[str, Any]:
    """Its config file's data."""
    data: dict[str, Any] = yaml.safe_load(built.one("ConfigMap", "quell-sidecar")["data"]["quell.yaml"])
    return data


@pytest.mark.parametrize("name", OVERLAYS)
def test_it_is_native_and_is_waited_for(name: str) -> None:
    """It outlives the application, is probed before that starts, and has time for its drain."""
    built = overlay(name)
    assert sidecar(built)["restartPolicy"] == "Always"
    for probe in ("startupProbe", "readinessProbe"):
        assert sidecar(built)[probe]["exec"]["command"] == ["quell", "health"]
    assert "livenessProbe" not in sidecar(built)
    drain = settings_of(EXAMPLE).drain
    assert pod(built)["terminationGracePeriodSeconds"] >= drain.ready_delay + drain.timeout + LAST_RECORDS


def test_it_has_the_example_config(tmp_path: Path) -> None:
    """The config says what config/sidecar.yaml says, listens on loopback alone, and puts the ledger on its volume."""
    built = overlay("sidecar")
    assert config(built) == yaml.safe_load(EXAMPLE.read_text())
    file = tmp_path / "quell.yaml"
    file.write_text(yaml.safe_dump(config(built)))
    environ = {each["name"]: each["value"] for each in sidecar(built)["env"]}
    mounts = {each["mountPath"] for each in sidecar(built)["volumeMounts"]}
    settings = settings_of(file, **environ)
    assert settings.listen.is_loopback
    assert settings.admin.listen.is_loopback
    assert str(Path(settings.ledger.url.removeprefix("sqlite:///")).parent) in mounts


def test_the_application_speaks_to_it() -> None:
    """The example's application has the sidecar's address as its base URL."""
    built = overlay("sidecar")
    [application] = pod(built)["containers"]
    base_url = {each["name"]: each["value"] for each in application["env"]}["OPENAI_BASE_URL"]
    [route] = config(built)["routes"]
    assert base_url == f"http://{config(built)['listen']}{route['path']}"


@pytest.mark.parametrize("name", OVERLAYS)
def test_it_has_no_rights_that_it_does_not_need(name: str) -> None:
    """Whatever the application may, the sidecar runs as nobody, on a file system that it can write in two places."""
    own = sidecar(overlay(name))["securityContext"]
    assert own["runAsNonRoot"] is True
    assert own["runAsUser"] == own["runAsGroup"] == 65532
    assert (own["readOnlyRootFilesystem"], own["allowPrivilegeEscalation"]) == (True, False)
    assert own["capabilities"] == {"drop": ["ALL"]}
    writable = {each["mountPath"] for each in sidecar(overlay(name))["volumeMounts"] if not each.get("readOnly")}
    assert writable == {"/var/lib/quell", "/tmp"}  # noqa: S108 a mount, no file of ours


def test_monitored_it_can_be_scraped_and_nothing_else_changes(tmp_path: Path) -> None:
    """The admin listener alone is opened, with a token from a secret, at the port that the PodMonitor names."""
    built, before = overlay("sidecar-monitored"), config(overlay("sidecar"))
    after = config(built)
    assert {key for key in after if after[key] != before.get(key)} == {"admin"}
    file = tmp_path / "quell.yaml"
    file.write_text(yaml.safe_dump(after))
    environ = {each["name"]: each.get("value", "a-token-of-a-secret") for each in sidecar(built)["env"]}
    settings = settings_of(file, **environ)
    assert settings.listen.is_loopback
    assert settings.admin.token is not None
    [port], monitor = sidecar(built)["ports"], built.one("PodMonitor")["spec"]
    [endpoint] = monitor["podMetricsEndpoints"]
    assert port == {"name": endpoint["port"], "containerPort": settings.admin.listen.port}
    labels = built.one("Deployment")["spec"]["template"]["metadata"]["labels"]
    assert monitor["selector"]["matchLabels"].items() <= labels.items()
