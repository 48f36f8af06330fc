"""Points in time as people write them."""

import pytest

from proxy.core.moments import parse_moment


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("24h", 1_000_000_000.0 - 86400),
        ("1d12h", 1_000_000_000.0 - 129600),
        ("2026-11-01", 1793491200.0),
        ("2026-11-01T12:30Z", 1793536200.0),
        ("2026-11-01T12:30:00.5", 1793536200.5),
        ("2026-11-01T13:30:00+01:00", 1793536200.0),
        ("20261101T123000-0000", 1793536200.0),
    ],
)
def test_what_is_a_moment(text: str, seconds: float) -> None:
    """So long ago, the beginning of a day, a time; without an offset it is UTC."""
    assert parse_moment(text, 1_000_000_000.0) == seconds


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("7", "a duration needs a unit"),
        ("yesterday", "expected how long ago"),
        ("2026-13-01", "expected how long ago"),
        ("", "expected how long ago"),
        ("-7d", "expected how long ago"),
        ("20261101", "a duration needs a unit"),
    ],
)
def test_what_is_none(text: str, part: str) -> None:
    """Anything else is refused, with what was expected."""
    with pytest.raises(ValueError, match=part):
        parse_moment(text, 0.0)
