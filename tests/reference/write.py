"""Writes the reference pages from the code, or says which are stale. `make reference` starts this.

`python tests/reference/write.py [--check]`.
"""

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from reference.cli_page import cli_page
from reference.config_page import config_page
from reference.errors_page import errors_page
from reference.http_page import http_page
from reference.metrics_page import metrics_page
from reference.record_page import record_page

FOLDER: Final = Path(__file__).resolve().parents[2] / "deploy" / "docs" / "reference"
PAGES: Final[Mapping[str, Callable[[], str]]] = {
    "cli": cli_page,
    "config": config_page,
    "errors": errors_page,
    "http": http_page,
    "metrics": metrics_page,
    "record": record_page,
}
_MADE: Final = "<!-- made by `make reference`: change the code, not this page -->\n"


def page(name: str) -> str:
    """What a page is to say, as the code is now."""
    return _MADE + PAGES[name]().rstrip() + "\n"


def stale(name: str) -> bool:
    """Whether a page says something else than the code."""
    file = FOLDER / f"{name}.md"
    return not file.exists() or file.read_text() != page(name)


def main() -> int:
    """Write all pages; with `--check` only say which are stale. The exit code is 1 if one is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing")
    check = parser.parse_args().check
    behind = [name for name in PAGES if stale(name)]
    for name in behind:
        if not check:
            (FOLDER / f"{name}.md").write_text(page(name))
        sys.stdout.write(f"{'stale' if check else 'wrote'}: deploy/docs/reference/{name}.md\n")
    return int(check and bool(behind))


if __name__ == "__main__":
    sys.exit(main())
