import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.usage import MAX_COUNT, Usage, read_usage


def test_openai_usage_is_read() -> None:
    """All four counts are taken from where OpenAI puts them."""
    found = {
        "prompt_tokens": 5,
        "completion_tokens": 7,
        "total_tokens": 12,
        "prompt_tokens_details": {"cached_tokens": 2},
        "completion_tokens_details": {"reasoning_tokens": 3},
    }
    assert read_usage(found) == Usage(5, 7, 2, 3)
    assert Usage(5, 7).total_tokens == 12
    assert Usage(5).total_tokens is None


@pytest.mark.parametrize("bad", [-1, MAX_COUNT + 1, 2**63, 10**400, 3.0, 1.5, float("nan"), "7", True, [], {}])
def test_a_count_that_is_none_is_left_out_and_flagged(bad: object) -> None:
    """U27: a negative, huge, fractional or mistyped count is unknown, the others stay, and a flag says so."""
    assert read_usage({"prompt_tokens": 5, "completion_tokens": bad}) == Usage(5, None, invalid=True)
    assert read_usage({"prompt_tokens_details": {"cached_tokens": bad}}) == Usage(invalid=True)


def test_missing_is_not_invalid() -> None:
    """U27: no usage, null usage and null counts are unknown, not wrong; another type in its place is wrong."""
    assert read_usage(None) is None
    assert read_usage({"completion_tokens": None, "prompt_tokens_details": None}) == Usage()
    assert read_usage("many") == read_usage([1]) == read_usage(7) == Usage(invalid=True)


def test_the_larger_counts_stand() -> None:
    """U26: of two reports each count is the larger one, and unknown gives way to known."""
    assert Usage(5, 3, None, 1).larger(Usage(5, 9, 2, None)) == Usage(5, 9, 2, 1)
    assert Usage(5, 9).larger(Usage(5, 3, invalid=True)) == Usage(5, 9, invalid=True)


counts = st.none() | st.integers(0, MAX_COUNT)
usages = st.builds(Usage, counts, counts, counts, counts, st.booleans())


@given(usages, usages)
def test_the_order_of_reports_does_not_matter(one: Usage, other: Usage) -> None:
    """Two reports give the same counts in either order, and a repeated one changes nothing."""
    assert one.larger(other) == other.larger(one)
    assert one.larger(other).larger(other) == one.larger(other)


texts = st.text(st.sampled_from("a1-"), max_size=3)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2),
)


@given(st.dictionaries(st.sampled_from(["prompt_tokens", "completion_tokens", "prompt_tokens_details"]), json_values))
def test_any_json_is_taken_without_an_exception(found: object) -> None:
    """Whatever JSON stands in the usage, reading gives counts in range or unknown."""
    usage = read_usage(found)
    assert usage is not None
    assert all(count is None or 0 <= count <= MAX_COUNT for count in (usage.prompt_tokens, usage.completion_tokens))
