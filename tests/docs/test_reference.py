"""The reference pages say what the code says."""

import pytest

from reference.write import PAGES, stale


@pytest.mark.parametrize("name", PAGES)
def test_a_reference_page_is_what_the_code_says(name: str) -> None:
    """A page that is made from the code is as `make reference` would write it now."""
    assert not stale(name), "run make reference"
