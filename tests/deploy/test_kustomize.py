"""The kustomizations: every one can be built, uses every file, and makes objects that the Kubernetes API takes."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.deploy_files import DEPLOY, tool
from support.kubectl import kustomize_command, kustomized
from support.kustomize import Built, KustomizeError, build

KUBERNETES = DEPLOY / "kubernetes"
OVERLAYS = sorted(each.name for each in (KUBERNETES / "overlays").iterdir())
OLDEST = {"gateway": "1.30", "sidecar": "1.29"}
"""The first Kubernetes that each is for; the monitored ones are for the same."""
NEWEST = "1.37"
OPERATOR = "monitoring.coreos.com/v1"
RELABELING = {"targetLabel": str, "replacement": str}
SHAPES: dict[str, dict[str, Any]] = {
    "ServiceMonitor": {
        "jobLabel": str,
        "selector": {"matchLabels": dict},
        "endpoints": [{"port": str, "path": str, "interval": str}],
    },
    "PodMonitor": {
        "selector": {"matchLabels": dict},
        "podMetricsEndpoints": [{"port": str, "path": str, "interval": str, "relabelings": [RELABELING]}],
    },
}
"""What the operator's kinds have in their spec, as far as ours use it; no schema of them is at hand."""


def overlay(name: str) -> Built:
    """What an overlay makes."""
    return build(KUBERNETES / "overlays" / name)


def has_shape(value: Any, shape: Any) -> bool:
    """Whether a value has these keys and types, all of them and no others."""
    if isinstance(shape, dict):
        return (
            isinstance(value, dict) and set(value) == set(shape) and all(has_shape(value[k], shape[k]) for k in shape)
        )
    if isinstance(shape, list):
        return isinstance(value, list) and bool(value) and all(has_shape(each, shape[0]) for each in value)
    return isinstance(value, shape)


def without_hashes(objects: list[dict[str, Any]]) -> str:
    """Objects as text, ordered, with the names of config maps as they were before they got a hash."""
    text = json.dumps(sorted(map(by_name, objects), key=lambda each: json.dumps(each, sort_keys=True)), sort_keys=True)
    return re.sub(r'"(quell-(?:gateway|sidecar))-[a-z0-9]{10}"', r'"\1"', text)


def by_name(value: Any) -> Any:
    """A value whose lists are ordered, since a merge may put items anywhere, and whose texts are one line each."""
    if isinstance(value, dict):
        return {key: by_name(each) for key, each in value.items()}
    if isinstance(value, list):
        return sorted(map(by_name, value), key=lambda each: json.dumps(each, sort_keys=True))
    return " ".join(value.split()) if isinstance(value, str) else value


@pytest.mark.parametrize("name", OVERLAYS)
def test_every_overlay_can_be_built(name: str) -> None:
    """Every resource is there, every patch changes something, and no object is there twice."""
    assert overlay(name).objects


def test_every_file_is_used() -> None:
    """No file below the folder belongs to nothing."""
    used = {file for name in OVERLAYS for file in overlay(name).files}
    assert {file for file in KUBERNETES.rglob("*") if file.is_file()} == used


@pytest.mark.parametrize("name", OVERLAYS)
def test_kustomize_makes_the_same(name: str) -> None:
    """The real kustomize, where it is installed, makes the same objects as the reader that the tests have."""
    if (command := kustomize_command()) is None:
        pytest.skip("neither kustomize nor kubectl is installed: what the tests' own reader makes was checked alone")
    made = kustomized(command, KUBERNETES / "overlays" / name)
    assert without_hashes(made) == without_hashes(overlay(name).objects)


@pytest.mark.parametrize("name", OVERLAYS)
@pytest.mark.parametrize("newest", [False, True])
def test_the_api_takes_every_object(name: str, newest: bool, tmp_path: Path) -> None:
    """The objects fit the API of the first Kubernetes that the overlay is for, and of a new one, to the last field."""
    version = NEWEST if newest else OLDEST[name.partition("-")[0]]
    own = [each for each in overlay(name).objects if each["apiVersion"] != OPERATOR]
    file = tmp_path / "objects.yaml"
    file.write_text(yaml.safe_dump_all(own))
    assert not tool("kubernetes-validate", "--strict", "-k", version, str(file))


@pytest.mark.parametrize("name", OVERLAYS)
def test_the_kinds_of_the_operator_have_their_shape(name: str) -> None:
    """Monitors have the fields of their kind and no others, and are only where monitoring is asked for."""
    found = [each for each in overlay(name).objects if each["apiVersion"] == OPERATOR]
    assert bool(found) == name.endswith("-monitored")
    for each in found:
        if each["kind"] != "PrometheusRule":
            assert has_shape(each["spec"], SHAPES[each["kind"]]), each


def test_the_reader_is_strict(tmp_path: Path) -> None:
    """A patch that hits nothing, a file that is missing and a key that is not known are found."""
    (tmp_path / "patch.yaml").write_text("{apiVersion: v1, kind: Service, metadata: {name: quell}, spec: {a: 1}}")
    head = "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n"
    for more, why in (
        ("resources: [missing.yaml]", "no such file"),
        ("patches: [{path: patch.yaml}]", "nothing to patch"),
        ("bases: [../base]", "unknown"),
        ("images: [{name: a, newName: b, newTag: c}]", "no container"),
        ("resources: [patch.yaml, patch.yaml]", "more than once"),
        ("resources: [patch.yaml]\npatches: [{path: patch.yaml}]", "changes nothing"),
    ):
        (tmp_path / "kustomization.yaml").write_text(head + more)
        with pytest.raises(KustomizeError, match=why):
            build(tmp_path)
