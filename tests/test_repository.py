"""The tree as a whole: what must not stand in it, what must agree, and what must be importable by itself."""

import re
import subprocess
import tomllib
from collections.abc import Iterator
from graphlib import TopologicalSorter
from importlib.metadata import version
from pathlib import Path

import grimp
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from proxy.edge.admin.token import SUFFIX
from support.program import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCKS = ("build", "run", "dev")

OF_A_MACHINE = re.compile(
    r"(?<![\w.$}])/(?:work|root|home|opt/pypi)/"  # somebody's folders
    r"|(?:pypi|pythonhosted|npmjs)\.org"  # where packages come from is everybody's own business
    r"|(?:index-url|find-links)[ =]+\S*/"
)


def tracked() -> Iterator[Path]:
    """Every text file that belongs to the project."""
    listed = subprocess.run(
        ["git", "ls-files", "-coz", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("this is no git checkout")
    for name in filter(None, listed.stdout.split("\0")):
        path = ROOT / name
        if path.is_file() and path.suffix not in {".body", ".head"} and path != Path(__file__):
            yield path


def pinned(lock: str) -> dict[str, Version]:
    """What a lock file pins."""
    text = (ROOT / "requirements" / f"{lock}.txt").read_text()
    found = re.findall(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^ ;\\\n]+)", text, re.MULTILINE)
    return {canonicalize_name(name): Version(number) for name, number in found}


def asked(lock: str) -> list[str]:
    """The requirements that a lock file is made from."""
    project = PROJECT["project"]
    extras = project["optional-dependencies"]
    made_from: dict[str, list[str]] = {
        "build": PROJECT["build-system"]["requires"],
        "run": project["dependencies"] + extras["tokens"] + extras["vocabularies"],
        "dev": project["dependencies"] + extras["dev"],
    }
    return made_from[lock]


def test_no_file_speaks_of_a_machine() -> None:
    """No file names a folder of somebody's machine or the host of a package registry."""
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}"
        for path in tracked()
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1)
        if OF_A_MACHINE.search(line)
    ]
    assert found == []


def test_git_ignores_what_the_program_makes() -> None:
    """The ledger and its companions, the operator's token among them, are not offered to git for a commit."""
    made = ["quell.db", *(f"quell.db{suffix}" for suffix in ("-wal", "-shm", ".lock", SUFFIX))]
    asked = subprocess.run(["git", "check-ignore", *made], cwd=ROOT, capture_output=True, text=True, check=False)
    if asked.returncode > 1:
        pytest.skip("this is no git checkout")
    assert asked.stdout.split() == made


@pytest.mark.parametrize("lock", LOCKS)
def test_lock_has_what_is_asked_for(lock: str) -> None:
    """Every requirement of pyproject.toml is pinned in the lock file to a version that satisfies it."""
    pins = pinned(lock)
    for text in asked(lock):
        requirement = Requirement(text)
        assert canonicalize_name(requirement.name) in pins, f"{text}: run make lock"
        assert pins[canonicalize_name(requirement.name)] in requirement.specifier, f"{text}: run make lock"


@pytest.mark.parametrize("lock", LOCKS)
def test_every_pin_has_hashes(lock: str) -> None:
    """Every package of a lock file is checked against hashes when it is installed."""
    text = (ROOT / "requirements" / f"{lock}.txt").read_text()
    entries = re.split(r"^(?=[A-Za-z0-9])", text, flags=re.MULTILINE)[1:]
    assert len(entries) == len(pinned(lock))
    assert [entry.splitlines()[0] for entry in entries if "--hash=sha256:" not in entry] == []


def test_locks_agree() -> None:
    """What is tested is what is shipped: the same package has one version in all lock files."""
    dev = pinned("dev")
    for lock in ("build", "run"):
        pins = pinned(lock)
        assert {name: dev.get(name, pin) for name, pin in pins.items()} == pins


def test_build_requirements_are_those_of_the_project() -> None:
    """The file that the build's lock is made from names what pyproject.toml names."""
    lines = (ROOT / "requirements" / "build.in").read_text().splitlines()
    assert set(PROJECT["build-system"]["requires"]) <= set(lines)


def test_version_is_one() -> None:
    """The version of the installed package is that of pyproject.toml."""
    assert version("quell") == PROJECT["project"]["version"]


def test_every_module_can_be_imported_alone() -> None:
    """No module needs another one to have been imported before it: imports go in no circle."""
    graph = grimp.build_graph("proxy", cache_dir=None, exclude_type_checking_imports=True)
    assert len(graph.modules) > 50
    imported = {name: graph.find_modules_directly_imported_by(name) for name in graph.modules}
    TopologicalSorter(imported).prepare()  # CycleError names the circle
