"""Refusals and how they are worded."""

import json

import pytest

from proxy.core.errors import Refusal, Source, UpstreamErrorKind, openai_error_body


@pytest.mark.parametrize("kind", UpstreamErrorKind)
def test_every_upstream_failure_is_a_502_or_504(kind: UpstreamErrorKind) -> None:
    """Each kind has its code, a sentence, and 504 exactly when time ran out."""
    refusal = Refusal.upstream(kind)
    assert refusal.status == (504 if kind.endswith("_timeout") else 502)
    assert (refusal.code, refusal.source) == (f"upstream_{kind}", Source.UPSTREAM)
    assert refusal.message.endswith((".", "?"))


def test_the_default_body_is_openais_error_object() -> None:
    """The body has message, type, code and param, and is ASCII whatever the message has."""
    body = openai_error_body(Refusal.bad_request("bad", "né \udc80 \u2028", param="stream"))
    assert body.isascii()
    expected = {"message": "né \udc80 \u2028", "type": "invalid_request_error", "code": "bad", "param": "stream"}
    assert json.loads(body) == {"error": expected}


def test_a_cancelled_generation_tells_sdks_not_to_retry() -> None:
    """The 499 of a stop before the header carries its code and `x-should-retry: false`."""
    refusal = Refusal.cancelled()
    assert (refusal.status, refusal.code, refusal.headers) == (
        499,
        "generation_cancelled",
        {"x-should-retry": "false"},
    )


def test_refusals_share_no_headers() -> None:
    """A header set on one refusal does not show up on the next."""
    Refusal.not_found().headers["X"] = "y"
    assert Refusal.not_found().headers == {}


def test_who_is_at_fault_and_who_closes() -> None:
    """Constructors name the source, and only broken connections are closed."""
    assert Refusal.internal().source is Source.OURS
    assert Refusal.overloaded(3).headers == {"Retry-After": "3"}
    assert Refusal.too_many(2).headers == {"Retry-After": "2"}
    assert Refusal.unauthorized().source is Source.DOWNSTREAM
    assert [Refusal.too_large(1).closes, Refusal.body_timeout().closes, Refusal.not_found().closes] == [
        True,
        True,
        False,
    ]
    assert str(Refusal.not_found()) == "404 not_found: There is nothing with this id or path."
