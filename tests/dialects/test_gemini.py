"""Gemini's API behind an `openai` route: which request is what, and what is made of a model call."""

import json
from typing import Any

import pytest

from proxy.core.errors import Refusal
from proxy.core.settings.settings import RouteSettings
from proxy.core.usage import UsageAsk
from proxy.dialects.gemini import Gemini
from proxy.engine.dialect import ModelCall, PassThrough
from proxy.engine.plain import PlainRequest
from proxy.engine.relaying.plan import Plan

DIALECT = Gemini()
ROUTE = RouteSettings(path="/v1beta", dialect="openai", upstream="up")
STREAM, PLAIN = "/models/gemini-2.5-pro:streamGenerateContent", "/models/gemini-2.5-pro:generateContent"


def plan(body: Any, rest: str = STREAM, query: str = "alt=sse", user: str | None = None) -> Plan:
    """The plan of a request."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = PlainRequest("POST", rest, query, "application/json", raw, user)
    return DIALECT.plan(request, ROUTE, asks_usage=UsageAsk.FINAL, forbids_usage=False)


@pytest.mark.parametrize(
    "rest",
    [
        STREAM,
        PLAIN,
        "/tunedModels/mine:generateContent",
        "/projects/p/locations/l/publishers/google/models/gemini-2.5-pro:streamGenerateContent",
    ],
)
def test_model_calls(rest: str) -> None:
    """A POST to one of the two calls is a model call, wherever its model is named; another method is passed on."""
    assert DIALECT.endpoint("POST", rest) == ModelCall(DIALECT.plan)
    assert DIALECT.endpoint("GET", rest) == PassThrough()


@pytest.mark.parametrize(
    "rest",
    [
        "",
        "/models",
        "/models/gemini-2.5-pro",
        "/models/gemini-2.5-pro:countTokens",
        "/models/gemini-2.5-pro:embedContent",
        "/models/gemini-2.5-pro:batchGenerateContent",
        "/chat/completions",
        "/cachedContents",
    ],
)
def test_the_rest_is_passed_on(rest: str) -> None:
    """Everything else of the API goes by."""
    assert DIALECT.endpoint("POST", rest) == PassThrough()


@pytest.mark.parametrize(
    "rest",
    [
        "/models/m:GenerateContent",
        "/models/m:streamgeneratecontent",
        "/models/m:generateContent/",
        "/models/:generateContent",
        f"/models/{257 * 'm'}:generateContent",
        "/models/m\u00e9:generateContent",
    ],
)
def test_other_spellings_lead_around_nothing(rest: str) -> None:
    """What is nearly one of the two calls is not found, and never passed on."""
    with pytest.raises(Refusal) as refused:
        DIALECT.endpoint("POST", rest)
    assert refused.value.status == 404


def test_a_call_goes_up_as_it_came() -> None:
    """Body, path and query are the client's, byte for byte; the model is the path's."""
    body = b'{ "contents" : [] }'
    found = plan(body, user="u")
    assert (found.body, found.path, found.query) == (body, STREAM, "alt=sse")
    assert (found.dialect, found.wire.name, found.model, found.user) == ("openai", "gemini", "gemini-2.5-pro", "u")
    assert (found.folded, found.counts, found.strips_usage) == (False, True, False)


@pytest.mark.parametrize(
    ("rest", "query", "streamed"),
    [
        (STREAM, "alt=sse", True),
        (STREAM, "key=x&alt=SSE", True),
        (STREAM, "%24alt=sse", True),
        (STREAM, "", False),
        (STREAM, "alt=json", False),
        (PLAIN, "alt=sse", False),
    ],
)
def test_what_streams(rest: str, query: str, *, streamed: bool) -> None:
    """Only the streaming call with `alt=sse` gives events."""
    found = plan({}, rest, query)
    assert (found.streamed, found.wants_usage) == (streamed, streamed)


@pytest.mark.parametrize("body", [b"", b"[]", b'{"a":1,"a":2}', b'{"a":NaN}'])
def test_bad_bodies(body: bytes) -> None:
    """A body that breaks a rule is a 400."""
    with pytest.raises(Refusal) as refused:
        plan(body)
    assert refused.value.status == 400


@pytest.mark.parametrize(
    ("refusal", "word"),
    [
        (Refusal.bad_request("x", "y"), "INVALID_ARGUMENT"),
        (Refusal.unauthorized(), "UNAUTHENTICATED"),
        (Refusal.not_found(), "NOT_FOUND"),
        (Refusal.too_many(3), "RESOURCE_EXHAUSTED"),
        (Refusal.cancelled(), "CANCELLED"),
        (Refusal.overloaded(1), "UNAVAILABLE"),
        (Refusal.internal(), "INTERNAL"),
    ],
)
def test_refusals(refusal: Refusal, word: str) -> None:
    """A refusal is Google's error object, with the refusal's headers."""
    reply = DIALECT.refused(refusal)
    assert (reply.status, dict(reply.headers)) == (refusal.status, refusal.headers)
    assert json.loads(reply.body) == {"error": {"code": refusal.status, "message": refusal.message, "status": word}}
