"""The dialect `anthropic`: which request is what, and what is made of a model call."""

import json
from typing import Any

import pytest

from proxy.core.errors import Refusal
from proxy.core.lifecycle import Cause, Outcome, Phase
from proxy.core.settings.settings import RouteSettings
from proxy.core.usage import UsageAsk
from proxy.dialects.anthropic import Anthropic
from proxy.engine.dialect import ModelCall, PassThrough, StopCall
from proxy.engine.plain import PlainRequest
from proxy.engine.relaying.plan import Plan
from proxy.wire.anthropic_answer import AnthropicAnswerFold
from support.records import a_record

DIALECT = Anthropic()
ROUTE = RouteSettings(path="/v1", dialect="anthropic", upstream="up")
FOLDING = RouteSettings(path="/v1", dialect="anthropic", upstream="up", blocking="stream")


def plan(body: Any, *, route: RouteSettings = ROUTE, user: str | None = None) -> Plan:
    """The plan of a request."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = PlainRequest("POST", "/messages", "beta=true", "application/json", raw, user)
    return DIALECT.plan(request, route, asks_usage=UsageAsk.FINAL, forbids_usage=False)


@pytest.mark.parametrize(
    ("method", "rest", "expected"),
    [
        ("POST", "/messages", ModelCall(DIALECT.plan)),
        ("POST", "/messages/", ModelCall(DIALECT.plan)),
        ("POST", "/messages/t-1/cancel", StopCall("t-1", DIALECT.stopped)),
        ("GET", "/messages", PassThrough()),
        ("POST", "/messages/count_tokens", PassThrough()),
        ("POST", "/messages/batches", PassThrough()),
        ("POST", "/messages/batches/msgbatch_1/cancel", PassThrough()),
        ("POST", "/messages/async/m-1/cancel", PassThrough()),
        ("GET", "/models", PassThrough()),
        ("POST", "/chat/completions", PassThrough()),
    ],
)
def test_endpoints(method: str, rest: str, expected: Any) -> None:
    """Messages are model calls, their cancel stops them, all else goes by."""
    assert DIALECT.endpoint(method, rest) == expected


@pytest.mark.parametrize(
    ("method", "rest", "status"),
    [("GET", "/messages/t-1/cancel", 405), ("POST", "/Messages", 404), ("POST", "/messages/t-1/Cancel", 404)],
)
def test_nothing_leads_around_it(method: str, rest: str, status: int) -> None:
    """The stop route in another method, or a path in other letters, is refused and never passed on."""
    with pytest.raises(Refusal) as refused:
        DIALECT.endpoint(method, rest)
    assert refused.value.status == status


def test_a_call_goes_up_as_it_came() -> None:
    """Body, path and query are the client's, byte for byte; its stream ends with its usage."""
    body = b'{ "model":"m", "stream" : true,"metadata":{"user_id":"u"}, "messages":[] }'
    found = plan(body)
    assert (found.body, found.path, found.query) == (body, "/messages", "beta=true")
    assert (found.dialect, found.wire.name, found.model, found.user) == ("anthropic", "anthropic", "m", "u")
    assert (found.streamed, found.folded, found.counts, found.strips_usage) == (True, False, True, False)
    assert (found.wants_usage, plan({}).wants_usage) == (True, False)
    assert plan(body, user="header").user == "header"


def test_folding() -> None:
    """On a folding route a plain message is asked for as a stream, with nothing else added."""
    found = plan(b'{"model": "m"}', route=FOLDING)
    assert (found.folded, found.streamed, found.body) == (True, False, b'{"model": "m","stream":true}')
    assert found.answer_fold is AnthropicAnswerFold
    assert not plan({"stream": True}, route=FOLDING).folded


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"", None),
        (b"[]", None),
        (b'{"stream":"true"}', "stream"),
        (b'{"a":1,"a":2}', "a"),
        (b'{"metadata":{"user_id":7}}', "user_id"),
        (b'{"metadata":{"user_id":"a\\nb"}}', "user_id"),
    ],
)
def test_bad_bodies(body: bytes, param: str | None) -> None:
    """A body that breaks a rule is a 400, with the field at fault."""
    with pytest.raises(Refusal) as refused:
        plan(body)
    assert (refused.value.status, refused.value.param) == (400, param)


@pytest.mark.parametrize("metadata", [None, 7, [], {}, {"user_id": None}])
def test_calls_that_name_no_user(metadata: Any) -> None:
    """What is in `metadata` otherwise is the upstream's to judge."""
    assert plan({"metadata": metadata}).user is None


def test_answers() -> None:
    """A stop is answered with the receipt, a refusal with Anthropic's error object and the refusal's headers."""
    record = a_record(outcome=Outcome.CANCELLED, cause=Cause.CLIENT, phase=Phase.STREAMING)
    reply = DIALECT.stopped(record)
    assert (reply.status, json.loads(reply.body)["result"]) == (200, "stopped")
    refusals = {
        "invalid_request_error": Refusal.bad_request("x", "y"),
        "authentication_error": Refusal.unauthorized(),
        "not_found_error": Refusal.not_found(),
        "rate_limit_error": Refusal.too_many(3),
        "request_too_large": Refusal.too_large(1),
        "overloaded_error": Refusal.overloaded(1),
        "api_error": Refusal.internal(),
    }
    for kind, refusal in refusals.items():
        reply = DIALECT.refused(refusal)
        body = json.loads(reply.body)
        assert (reply.status, dict(reply.headers)) == (refusal.status, refusal.headers)
        error = {"type": kind, "message": refusal.message, "code": refusal.code}
        assert body == {"type": "error", "error": error}
