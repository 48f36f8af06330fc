"""Names with wildcards: what they match, which is more specific, and whether two have a name in common."""

from fnmatch import fnmatchcase
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.wildcards import Pattern

texts = st.text(alphabet="ab*?.", max_size=8)
names = st.text(alphabet="ab.\n", max_size=8)


@given(texts, names)
def test_it_matches_what_a_file_pattern_matches(text: str, name: str) -> None:
    """Stars and question marks mean what they mean for file names; every other character is itself."""
    assert Pattern(text).matches(name) == fnmatchcase(name, text)


def test_brackets_and_case_are_plain_characters() -> None:
    """A model's name may have brackets; `A` is not `a`."""
    assert Pattern("m[ab]").is_plain
    assert Pattern("m[ab]").matches("m[ab]")
    assert not Pattern("m[ab]").matches("ma")
    assert not Pattern("M*").matches("m")


def test_a_hostile_name_takes_no_time() -> None:
    """Names come from callers: no pattern tries the same piece again and again."""
    assert not Pattern("*a" * 40 + "*b").matches("a" * 100_000)


@pytest.mark.parametrize(
    ("more", "less"),
    [("gpt-4o", "gpt-4o*"), ("gpt-4o*", "gpt-4*"), ("gpt-4?", "gpt-4*"), ("a*b", "a*"), ("a*b", "*a*b"), ("a", "*")],
)
def test_the_more_specific_pattern_is_larger(more: str, less: str) -> None:
    """More characters count more, then `?` before `*`, then fewer stars."""
    assert Pattern(more) > Pattern(less)
    assert not Pattern(more) < Pattern(less)


@given(texts.filter(lambda text: set(text) & set("*?")), names.filter(bool))
def test_a_plain_name_is_larger_than_any_pattern_of_it(text: str, name: str) -> None:
    """Whoever names a model means it."""
    pattern = Pattern(text)
    if pattern.matches(name):
        assert pattern < Pattern(name)


def test_several_stars_are_one() -> None:
    """`**` is `*`: a bare one of both says nothing about a name."""
    assert Pattern("a**b") == Pattern("a*b")
    assert Pattern("***").is_all


@given(texts, texts)
def test_two_patterns_overlap_when_a_name_fits_both(one: str, two: str) -> None:
    """Whatever matches both is found; the shortest such name is no longer than both patterns."""
    first, second = Pattern(one[:4]), Pattern(two[:4])
    short = ("".join(each) for length in range(9) for each in product("ab.", repeat=length))
    some = any(first.matches(name) and second.matches(name) for name in short)
    assert first.overlaps(second) == second.overlaps(first) == some
