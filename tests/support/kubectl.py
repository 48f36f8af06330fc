"""The real kustomize, where this machine has it: as a program of its own, or in kubectl. It asks no cluster."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import yaml


def kustomize_command() -> list[str] | None:
    """What builds a kustomization here; None: nothing does."""
    if (program := shutil.which("kustomize")) is not None:
        return [program, "build"]
    if (program := shutil.which("kubectl")) is not None:
        return [program, "kustomize"]
    return None


def kustomized(command: list[str], folder: Path) -> list[dict[str, Any]]:
    """The objects that it makes of a folder."""
    done = subprocess.run([*command, str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr
    return list(yaml.safe_load_all(done.stdout))
