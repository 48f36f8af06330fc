"""The page for when something goes wrong: what it quotes is what the program says."""

import re

import pytest

from reference.refusals import literals
from support.documents import DOCS

PAGE = (DOCS / "troubleshooting.md").read_text()
QUOTED = re.findall(r"^### `(.*)`$", PAGE, re.MULTILINE)
FIELDS = {"result: stopping", "upstream_closed_ms", '"completion_tokens": null'}
"""What is quoted from an answer, not from the source."""
SAID = literals()


def test_it_is_keyed_by_quoted_texts() -> None:
    """Every entry below the first two levels is a quoted text, and none stands twice."""
    assert len(re.findall(r"^### ", PAGE, re.MULTILINE)) == len(QUOTED) == len(set(QUOTED))


@pytest.mark.parametrize("text", [each for each in QUOTED if each not in FIELDS])
def test_the_program_says_what_is_quoted(text: str) -> None:
    """Each part of a quoted text stands in the program's source."""
    parts = [part.strip() for part in text.split("…") if part.strip()]
    assert [part for part in parts if not any(part in said for said in SAID)] == []
