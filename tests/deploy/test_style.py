"""How the files of the deployment are written: YAML and shell, by the linters that everybody has for them."""

import os
import shutil
import subprocess

import pytest

from support.deploy_files import tool
from support.program import ROOT


def scripts() -> list[str]:
    """Every shell script of the build and the deployment."""
    files = [each for folder in (".ci", "deploy") for each in (ROOT / folder).rglob("*") if each.is_file()]
    shells = [each for each in files if each.read_bytes()[:2] == b"#!" and b"sh" in each.read_bytes().splitlines()[0]]
    return sorted(str(each.relative_to(ROOT)) for each in shells)


def test_yaml_is_tidy() -> None:
    """Yamllint finds nothing to say about any YAML file of the deployment and of the examples."""
    assert not tool("yamllint", "--strict", "-c", "tests/deploy/yamllint.yaml", "deploy", "config")


def test_shell_is_sound() -> None:
    """Shellcheck finds nothing to say about the scripts."""
    if (program := shutil.which("shellcheck")) is None:
        pytest.skip("shellcheck is not installed (Debian: apt-get install shellcheck)")
    assert len(scripts()) > 2
    done = subprocess.run([program, *scripts()], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_scripts_can_be_read_and_run() -> None:
    """The scripts of the build are executable, and their shells can read them."""
    for script in sorted((ROOT / ".ci").iterdir()):
        shell = script.read_text().splitlines()[0].split("/")[-1].removeprefix("env ")
        assert os.access(script, os.X_OK), script
        done = subprocess.run([shell, "-n", str(script)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
