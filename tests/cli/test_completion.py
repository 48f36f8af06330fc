"""Completion in real shells, with the script that is printed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from proxy.cli import main
from support.program import environment

BASH = shutil.which("bash")


def shell(program: str, script: str, folder: Path) -> str:
    """What a shell prints, with `quell` on its path."""
    quell = folder / "quell"
    quell.write_text(f"#!{sys.executable}\nimport sys\nsys.argv[0] = 'quell'\nfrom proxy.cli import main\nmain()\n")
    quell.chmod(0o755)
    env = environment(PATH=f"{folder}:{os.environ['PATH']}")
    done = subprocess.run([program, "-c", script], cwd=folder, env=env, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout


def completed(words: str, folder: Path) -> list[str]:
    """What bash puts behind these words, the last of which is unfinished."""
    script = f"""
        eval "$(quell completion bash)"
        COMP_WORDS=({words}); COMP_CWORD=$(( ${{#COMP_WORDS[@]}} - 1 ))
        _quell_completion quell
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    assert BASH is not None
    return shell(BASH, script, folder).split()


@pytest.mark.skipif(BASH is None, reason="there is no bash")
def test_bash_completes(tmp_path: Path) -> None:
    """Commands, options and their values are completed by a real bash."""
    assert completed("quell to", tmp_path) == ["top"]
    assert completed("quell led", tmp_path) == ["ledger"]
    assert "export" in completed("quell ledger e", tmp_path)
    assert completed("quell ps --wa", tmp_path) == ["--watch"]
    assert completed("quell ps -o w", tmp_path) == ["wide"]
    assert completed("quell completion ''", tmp_path) == ["bash", "zsh", "fish"]
    assert completed("quell help to", tmp_path) == ["top"]


@pytest.mark.parametrize("name", ["zsh", "fish"])
def test_other_shells_take_the_script(name: str, tmp_path: Path) -> None:
    """The script is one that the shell itself reads without an error, where it is installed."""
    program = shutil.which(name)
    if program is None:
        pytest.skip(f"there is no {name}")
    file = tmp_path / "script"
    file.write_text(CliRunner().invoke(main, ["completion", name]).stdout)
    done = subprocess.run([program, "-n", str(file)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", ["bash", "zsh", "fish"])
def test_the_script_is_only_printed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The script names quell, and no shell is started for it."""
    monkeypatch.setattr(subprocess, "run", None)
    printed = CliRunner().invoke(main, ["completion", name])
    assert printed.exit_code == 0
    assert f"_QUELL_COMPLETE={name}_complete" in printed.stdout
    assert "_quell_completion" in printed.stdout


def test_an_unknown_shell() -> None:
    """Another shell is a mistake in what was typed, and the known ones are named."""
    refused = CliRunner().invoke(main, ["completion", "csh"])
    assert (refused.exit_code, "'bash', 'zsh', 'fish'" in refused.stderr) == (2, True)
