"""The image: its file read by the tool that knows the format, and held against the program."""

import json
import re
import tomllib

from support.deploy_files import DEPLOY, settings_of, tool
from support.program import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions and what follows them, continued lines joined."""
    joined = (DEPLOY / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line for line in joined.splitlines() if line and not line.startswith("#")]
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in lines)]


def the_only(word: str) -> str:
    """What follows an instruction that must be there once."""
    found = [rest for each, rest in instructions() if each == word]
    assert len(found) == 1, f"{word}: {found}"
    return found[0]


def test_dockerfile_has_no_findings() -> None:
    """Hadolint finds nothing to say about the Dockerfile."""
    assert not tool("hadolint", "deploy/Dockerfile")


def test_image_runs_as_a_numbered_user_and_takes_signals() -> None:
    """The image's user is a number that is not root, and its entry point is the program itself, without a shell."""
    assert the_only("USER") == "65532:65532"
    assert json.loads(the_only("ENTRYPOINT")) == ["quell"]
    assert json.loads(the_only("CMD")) == ["serve", "--config", "/etc/quell/quell.yaml"]
    assert the_only("STOPSIGNAL") == "SIGTERM"
    assert json.loads(the_only("HEALTHCHECK").partition(" CMD ")[2]) == ["quell", "health"]


def test_image_is_made_from_files_that_are_there_and_let_in() -> None:
    """Every file that the Dockerfile copies exists, and its ignore file lets it through."""
    let_in = [line[1:] for line in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines() if line[:1] == "!"]
    for word, rest in instructions():
        if word != "COPY" or rest.startswith("--from"):
            continue
        for source in rest.split()[:-1]:
            assert (ROOT / source).exists(), source
            assert any(source == each or source.startswith(each + "/") for each in let_in), source


def test_config_of_the_image() -> None:
    """The image's own config is valid, reachable from outside, and holds no credential that strangers could spend."""
    settings = settings_of(DEPLOY / "quell.yaml")
    assert not settings.listen.is_loopback
    assert settings.admin.listen.is_loopback
    assert all(upstream.api_key is None for upstream in settings.upstreams.values())
    assert settings.ledger.url == f"sqlite:///{the_only('VOLUME')}/quell.db"
    assert the_only("EXPOSE").split() == [str(settings.listen.port), str(settings.admin.listen.port)]


def test_base_is_pinned() -> None:
    """Both stages start from one base, which its digest names, and the label says which that is."""
    base = base_image()
    assert re.fullmatch(r"3\.\d+-slim-\w+@sha256:[0-9a-f]{64}", base)
    assert [rest.split()[0] for word, rest in instructions() if word == "FROM"] == ["python:${PYTHON}"] * 2
    assert labels()["org.opencontainers.image.base.name"].endswith(f"/python:{base.partition('@')[0]}")


def test_image_says_what_it_is() -> None:
    """The labels are those of the OCI's annotations, and the version is that of the project."""
    assert {each.rpartition(".")[2] for each in labels()} == {"title", "description", "version", "revision", "name"}
    assert ("ARG", f"VERSION={PROJECT['version']}") in instructions()
    assert labels()["org.opencontainers.image.description"] == PROJECT["description"].rstrip(".")


def test_only_what_was_locked_gets_in() -> None:
    """Every package comes as a wheel whose hash the lock has, but for the program's own."""
    installs = [
        part for word, rest in instructions() if word == "RUN" for part in rest.split("&&") if " install " in part
    ]
    others = [each for each in installs if "pip install" in each and "--no-index" not in each]
    assert len(others) == 2
    assert all("--require-hashes" in each and "--only-binary :all:" in each for each in others)


def base_image() -> str:
    """The base's tag and digest."""
    [found] = [rest.partition("=")[2] for word, rest in instructions() if word == "ARG" and rest.startswith("PYTHON=")]
    return found


def labels() -> dict[str, str]:
    """The image's labels."""
    return dict(re.findall(r'([a-z.]+)="([^"]*)"', the_only("LABEL")))
