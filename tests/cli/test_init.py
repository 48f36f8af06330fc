import sys
from pathlib import Path

import pytest

from support.program import ROOT
from support.quell import quell


def test_init_writes_the_smallest_file_which_is_valid(tmp_path: Path) -> None:
    """What init writes passes check as it is, and is the documented smallest file."""
    done = quell("init", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    called = f"{sys.executable} -m proxy"
    assert done.stdout.splitlines()[-2:] == [f"  {called} check quell.yaml", f"  {called} serve --config quell.yaml"]
    assert (tmp_path / "quell.yaml").read_text() == (ROOT / "config" / "minimal.yaml").read_text()
    assert quell("check", "quell.yaml", folder=tmp_path, OPENAI_API_KEY="sk-x").returncode == 0


def test_init_never_touches_a_file_that_is_there(tmp_path: Path) -> None:
    """A config is never overwritten."""
    (tmp_path / "mine.yaml").write_text("mine")
    done = quell("init", "mine.yaml", folder=tmp_path)
    assert done.returncode == 1
    assert "mine.yaml is there already and stays as it is" in done.stderr
    assert (tmp_path / "mine.yaml").read_text() == "mine"


@pytest.mark.parametrize("name", ["nothere/quell.yaml", "."])
def test_init_says_why_it_can_not_write(tmp_path: Path, name: str) -> None:
    """An impossible place is one line, no traceback."""
    done = quell("init", name, folder=tmp_path)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
