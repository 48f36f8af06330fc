"""A small strict reader of kustomizations, for machines without `kubectl kustomize`: what ours use of it, and no more.

built = build(DEPLOY / "kubernetes" / "overlays" / "gateway")
    ... built.objects, built.files: every object as it would be applied, and every file that was read for it

Anything that it does not know, a file that is missing, and a patch that changes nothing are errors. Names that are made
of a config map's content get no hash.
"""

import copy
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

Object = dict[str, Any]

KINDS: Final = {
    "Kustomization": "kustomize.config.k8s.io/v1beta1",
    "Component": "kustomize.config.k8s.io/v1alpha1",
}
MERGED_BY: Final = {
    "containers": "name",
    "initContainers": "name",
    "env": "name",
    "volumes": "name",
    "volumeMounts": "mountPath",
    "ports": "containerPort",
    "topologySpreadConstraints": "topologyKey",
}
"""The lists whose items a patch names, and by what; every other list is replaced."""


class KustomizeError(Exception):
    """A kustomization can't be built; the message says which file, and why."""


@dataclass
class Built:
    """What a kustomization makes."""

    objects: list[Object] = field(default_factory=list)
    files: set[Path] = field(default_factory=set)
    """Every file that was read."""

    def one(self, kind: str, name: str | None = None) -> Object:
        """The only object of a kind, or the one with that name."""
        found = [each for each in self.objects if each["kind"] == kind and name in {None, each["metadata"]["name"]}]
        if len(found) != 1:
            raise KustomizeError(f"{len(found)} objects are {kind} {name or ''}")
        return found[0]


def build(folder: Path) -> Built:
    """Everything that a folder's kustomization makes.

    Raises:
        KustomizeError: it would not be applied as it is meant.
    """
    built = Built()
    _include(folder.resolve(), built, "Kustomization")
    ids = [_id(each) for each in built.objects]
    if twice := {each for each in ids if ids.count(each) > 1}:
        raise KustomizeError(f"{folder}: more than once: {sorted(twice)}")
    return built


def documents(file: Path) -> list[Object]:
    """The objects in a file."""
    return [each for each in yaml.safe_load_all(file.read_text()) if each is not None]


def _include(folder: Path, built: Built, kind: str) -> None:
    """Do what the kustomization in a folder says, to what was built so far."""
    file = folder / "kustomization.yaml"
    [data] = documents(_read(file, built))
    if (data.pop("kind", None), data.pop("apiVersion", None)) != (kind, KINDS[kind]):
        raise KustomizeError(f"{file}: expected kind {kind} and apiVersion {KINDS[kind]}")
    steps: dict[str, Callable[[Path, Any, Built], None]] = {
        "resources": _resource,
        "components": lambda where, name, so_far: _include((where / name).resolve(), so_far, "Component"),
        "configMapGenerator": _config_map,
        "patches": _patch,
        "images": _image,
    }
    if unknown := set(data) - set(steps):
        raise KustomizeError(f"{file}: unknown: {sorted(unknown)}")
    for step, do in steps.items():
        for each in data.get(step, ()):
            do(folder, each, built)


def _read(file: Path, built: Built) -> Path:
    if not file.is_file():
        raise KustomizeError(f"{file}: there is no such file")
    built.files.add(file)
    return file


def _resource(folder: Path, name: str, built: Built) -> None:
    path = (folder / name).resolve()
    if path.is_dir():
        _include(path, built, "Kustomization")
    else:
        built.objects += documents(_read(path, built))


def _config_map(folder: Path, entry: dict[str, Any], built: Built) -> None:
    name, behavior = entry["name"], entry.get("behavior", "create")
    if set(entry) - {"name", "behavior", "files"} or behavior not in {"create", "replace"}:
        raise KustomizeError(f"{folder}: the config map {name} asks for more than is known here: {entry}")
    data = {file: _read(folder / file, built).read_text() for file in entry["files"]}
    made = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}
    old = [each for each in built.objects if _id(each) == _id(made)]
    if bool(old) != (behavior == "replace"):
        raise KustomizeError(
            f"{folder}: behavior {behavior}, but the config map {name} is {'' if old else 'not '}there"
        )
    built.objects = [each for each in built.objects if each not in old]
    built.objects.append(made)


def _patch(folder: Path, entry: dict[str, Any], built: Built) -> None:
    if set(entry) - {"path", "target"}:
        raise KustomizeError(f"{folder}: a patch asks for more than is known here: {entry}")
    [patch] = documents(_read(folder / entry["path"], built))
    wanted = entry.get("target") or {"kind": re.escape(patch["kind"]), "name": re.escape(patch["metadata"]["name"])}
    found = [each for each in built.objects if _is_meant(each, wanted)]
    change = {key: value for key, value in patch.items() if key not in {"apiVersion", "kind"}}
    change["metadata"] = {key: value for key, value in change["metadata"].items() if key != "name"}
    if not found:
        raise KustomizeError(f"{folder / entry['path']}: there is nothing to patch")
    for each in found:
        before = copy.deepcopy(each)
        _merge(each, copy.deepcopy(change))
        if each == before:
            raise KustomizeError(f"{folder / entry['path']}: changes nothing of {_id(each)}")


def _is_meant(each: Object, target: dict[str, str]) -> bool:
    if set(target) - {"kind", "name", "labelSelector"}:
        raise KustomizeError(f"a target asks for more than is known here: {target}")
    labels = each["metadata"].get("labels", {})
    pairs = [pair.split("=") for pair in target.get("labelSelector", "").split(",") if pair]
    return (
        re.fullmatch(target.get("kind", ".*"), each["kind"]) is not None
        and re.fullmatch(target.get("name", ".*"), each["metadata"]["name"]) is not None
        and all(labels.get(key) == value for key, value in pairs)
    )


def _merge(old: Object, new: Object) -> None:
    """A strategic merge: maps into maps, named items into named items, all else in place of what was there."""
    for key, value in new.items():
        was = old.get(key)
        if isinstance(value, dict) and isinstance(was, dict):
            _merge(was, value)
        elif isinstance(value, list) and isinstance(was, list) and key in MERGED_BY:
            _merge_items(was, value, MERGED_BY[key])
        else:
            old[key] = value


def _merge_items(old: list[Object], new: list[Object], by: str) -> None:
    known = {each[by]: each for each in old}
    for item in new:
        if item[by] in known:
            _merge(known[item[by]], item)
        else:
            old.append(item)


def _image(folder: Path, entry: dict[str, str], built: Built) -> None:
    if set(entry) != {"name", "newName", "newTag"}:
        raise KustomizeError(f"{folder}: an image asks for more than is known here: {entry}")
    found = [each for each in containers(built.objects) if re.split("[:@]", each["image"])[0] == entry["name"]]
    if not found:
        raise KustomizeError(f"{folder}: no container has the image {entry['name']}")
    for each in found:
        each["image"] = f"{entry['newName']}:{entry['newTag']}"


def containers(objects: list[Object]) -> Iterator[Object]:
    """Every container of every pod, those that start first included."""
    for each in objects:
        pod = each.get("spec", {}).get("template", {}).get("spec", {})
        yield from pod.get("initContainers", ())
        yield from pod.get("containers", ())


def _id(each: Object) -> tuple[str, str, str]:
    return each["apiVersion"], each["kind"], each["metadata"]["name"]
