"""Writes the reference pages from the code, or says which are stale, and where. `make reference` starts this.

`python tests/reference/write.py [--check]`.
"""

import argparse
import sys
from collections.abc import Callable, Mapping
from difflib import unified_diff
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


def stale(name: str) -> str:
    """Where a page says something else than the code, as a diff; nothing where it says the same."""
    file = FOLDER / f"{name}.md"
    kept = file.read_text() if file.exists() else ""
    lines = unified_diff(kept.splitlines(True), page(name).splitlines(True), f"{name}.md", "the code")
    return "".join(lines)


def main() -> int:
    """Write all pages; with `--check` only say which are stale. The exit code is 1 if one is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing")
    check = parser.parse_args().check
    behind = {name: where for name in PAGES if (where := stale(name))}
    for name, where in behind.items():
        if check:
            sys.stdout.write(where)
        else:
            (FOLDER / f"{name}.md").write_text(page(name))
            sys.stdout.write(f"wrote: deploy/docs/reference/{name}.md\n")
    return int(check and bool(behind))


if __name__ == "__main__":
    sys.exit(main())
