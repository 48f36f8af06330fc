"""The reference pages say what the code says."""

from difflib import unified_diff

import pytest

from reference.write import FOLDER, PAGES, page


@pytest.mark.parametrize("name", PAGES)
def test_a_reference_page_is_what_the_code_says(name: str) -> None:
    """A page that is made from the code is as `make reference` would write it now."""
    kept, made = (FOLDER / f"{name}.md").read_text(), page(name)

    assert not list(unified_diff(kept.splitlines(), made.splitlines(), "kept", "made")), "run make reference"
