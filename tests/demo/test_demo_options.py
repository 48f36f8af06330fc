from typing import Any

import pytest

from proxy.core.errors import Refusal
from proxy.demo.options import DemoOptions, Failure, read_options
from proxy.demo.text import PIECES


def test_without_options_there_are_defaults() -> None:
    """About 120 tokens at 40 a second, at once, without a failure."""
    assert read_options({"model": "demo"}) == DemoOptions(tokens=len(PIECES), per_second=40.0, first_token_after=0.0)


@pytest.mark.parametrize("silence", [2, 2.0, "2", "2.0", "2s", "2000ms"])
def test_options_come_in_the_body(silence: Any) -> None:
    """All options are read; silence is a number of seconds or a duration."""
    fail = {"how": "reset", "after_tokens": 3}
    options = read_options({"demo": {"tokens": 9, "per_second": 80, "first_token_after": silence, "fail": fail}})
    assert options == DemoOptions(
        tokens=9, per_second=80.0, first_token_after=2.0, fail=Failure(how="reset", after_tokens=3)
    )


def test_options_come_in_the_models_name() -> None:
    """What stands behind the @ is read; the body goes first where both say something."""
    name = "demo@tokens=9,per_second=80,first_token_after=2s,fail.how=status,fail.status=429"
    assert read_options({"model": "demo@first_token_after=12"}).first_token_after == 12
    wanted = DemoOptions(tokens=9, per_second=80.0, first_token_after=2.0, fail=Failure(how="status", status=429))
    assert read_options({"model": name}) == wanted
    assert read_options({"model": name, "demo": {"tokens": 5}}).tokens == 5


@pytest.mark.parametrize(
    ("body", "field", "words"),
    [
        ({"demo": 5}, "demo", "expected an object"),
        ({"demo": {"token": 5}}, "demo.token", "known are tokens, per_second"),
        ({"demo": {"tokens": 0}}, "demo.tokens", "greater than or equal to 1"),
        ({"demo": {"tokens": True}}, "demo.tokens", "whole number"),
        ({"demo": {"tokens": 10**9}}, "demo.tokens", "less than or equal to 1000000"),
        ({"demo": {"per_second": 0}}, "demo.per_second", "greater than 0"),
        ({"demo": {"per_second": "fast"}}, "demo.per_second", "number"),
        ({"demo": {"per_second": float("inf")}}, "demo.per_second", "finite"),
        ({"demo": {"first_token_after": "soon"}}, "demo.first_token_after", ": expected a duration such as"),
        ({"model": "demo@first_token_after=-2"}, "demo.first_token_after", ": expected a duration such as"),
        ({"demo": {"first_token_after": float("nan")}}, "demo.first_token_after", "finite"),
        ({"demo": {"fail": {"how": "explode"}}}, "demo.fail.how", "'reset'"),
        ({"demo": {"fail": {"status": 200}}}, "demo.fail.status", "400"),
        ({"demo": {"fail": {"after_tokens": 3}}}, "demo.fail.after_tokens", "can't follow tokens"),
        ({"model": "demo@tokens"}, "model", "name=value"),
        ({"model": "demo@tokens=many"}, "demo.tokens", "integer"),
        ({"model": "demo@fail=reset,fail.how=reset"}, "demo.fail", "dictionary"),
        ({"model": "demo@fail=reset"}, "demo.fail", "dictionary"),
    ],
)
def test_a_bad_option_is_named(body: dict[str, Any], field: str, words: str) -> None:
    """A wrong option is refused with 400, its place, and what was expected."""
    with pytest.raises(Refusal) as caught:
        read_options(body)
    assert (caught.value.status, caught.value.param) == (400, field)
    assert words in caught.value.message
