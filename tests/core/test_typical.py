"""Tests of proxy.core.typical: the median of the newest complete answers of a model and a route."""

from proxy.core.typical import ANSWERS, ENOUGH, PAIRS, Typical


def test_the_median_of_enough_answers() -> None:
    """A few answers say nothing yet; then it is the middle one, of that model and route only."""
    typical = Typical()
    seen = []
    for tokens in (10, 1000, 30, 20, 40):
        typical.note("m", "/v1", tokens)
        seen.append(typical.tokens("m", "/v1"))
    assert seen == [None] * (ENOUGH - 1) + [30]
    assert typical.tokens("other", "/v1") is None
    assert typical.tokens("m", "/v2") is None


def test_the_newest_count() -> None:
    """An old answer is forgotten when there are enough newer ones."""
    typical = Typical()
    for tokens in [1] * ANSWERS + [99] * ANSWERS:
        typical.note(None, "/v1", tokens)
    assert typical.tokens(None, "/v1") == 99


def test_pairs_are_bounded() -> None:
    """Of too many models the one goes whose last answer is the oldest."""
    typical = Typical()
    for _ in range(ENOUGH):
        typical.note("old", "/v1", 5)
        typical.note("kept", "/v1", 7)
    for number in range(PAIRS - 1):
        typical.note(f"m{number}", "/v1", 1)
        typical.note("kept", "/v1", 7)
    assert (typical.tokens("old", "/v1"), typical.tokens("kept", "/v1")) == (None, 7)
