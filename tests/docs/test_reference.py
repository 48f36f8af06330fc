"""The reference pages say what the code says."""

import subprocess
import sys

from reference.write import FOLDER

WRITE = FOLDER.parents[2] / "tests" / "reference" / "write.py"


def test_the_reference_pages_are_what_the_code_says() -> None:
    """Each page that is made from the code is as `make reference` would write it now."""
    # In a process of its own: click's commands remember how others called them in this one.
    done = subprocess.run([sys.executable, WRITE, "--check"], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), "run make reference"
