"""The dialect `openai`: which request is what, and what is made of a model call."""

import json
from typing import Any

import pytest

from proxy.core.errors import Refusal
from proxy.core.lifecycle import Cause, OnDisconnect, Outcome, Phase
from proxy.core.settings.settings import RouteSettings
from proxy.core.usage import UsageAsk
from proxy.dialects.openai import OTHER_CALLS, OpenAI
from proxy.engine.dialect import ModelCall, PassThrough, StopCall
from proxy.engine.plain import PlainRequest
from proxy.engine.relaying.plan import Plan
from support.records import a_record

DIALECT = OpenAI()
ROUTE = RouteSettings(path="/v1", dialect="openai", upstream="up")
FOLDING = RouteSettings(path="/v1", dialect="openai", upstream="up", blocking="stream")
ASKED = {"include_usage": True}
ASKED_ALL = {**ASKED, "continuous_usage_stats": True}
OWN = {"continuous_usage_stats": True}
NONE_OF_IT = (False, False)
NOTHING, FINAL, RUNNING = UsageAsk


def plan(
    body: Any,
    rest: str = "/chat/completions",
    *,
    route: RouteSettings = ROUTE,
    asks: UsageAsk = NOTHING,
    forbids: bool = False,
    content_type: str = "application/json",
    user: str | None = None,
) -> Plan:
    """The plan of a request."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = PlainRequest("POST", rest, "a=b", content_type, raw, user)
    return DIALECT.plan(request, route, asks_usage=asks, forbids_usage=forbids)


@pytest.mark.parametrize(
    "rest", ["/chat/completions", "/completions", "/chat/completions/", "/responses", *sorted(OTHER_CALLS)]
)
def test_model_calls(rest: str) -> None:
    """A POST to an endpoint that makes a model work is a model call; to ask about one is not."""
    assert DIALECT.endpoint("POST", rest) == ModelCall(DIALECT.plan)
    for method in ("GET", "DELETE", "OPTIONS"):
        assert DIALECT.endpoint(method, rest) == PassThrough()


@pytest.mark.parametrize("rest", ["/chat/completions", "/completions"])
@pytest.mark.parametrize("any_id", ["t-1", "chatcmpl-1", "cancel", "a:b"])
def test_stops(rest: str, any_id: str) -> None:
    """A POST to a completion's cancel stops it; another method there is refused, and never passed on."""
    assert DIALECT.endpoint("POST", f"{rest}/{any_id}/cancel") == StopCall(any_id, DIALECT.stopped)
    with pytest.raises(Refusal) as refused:
        DIALECT.endpoint("GET", f"{rest}/{any_id}/cancel")
    assert (refused.value.status, refused.value.headers) == (405, {"Allow": "POST"})


@pytest.mark.parametrize(
    ("method", "rest"),
    [
        ("POST", ""),
        ("POST", "/"),
        ("GET", "/models"),
        ("POST", "/chat"),
        ("POST", "/chat/completions/chatcmpl-1"),
        ("GET", "/chat/completions/chatcmpl-1/messages"),
        ("POST", "/chat/completions/a/b/cancel"),
        ("POST", "/chat/completions/cancel"),
        ("POST", "/fine_tuning/jobs/f-1/cancel"),
        ("GET", "/Chat/Completions"),
        ("POST", "/files"),
    ],
)
def test_the_rest_is_passed_on(method: str, rest: str) -> None:
    """Everything else of the API goes by."""
    assert DIALECT.endpoint(method, rest) == PassThrough()


@pytest.mark.parametrize(
    ("method", "rest"),
    [
        ("POST", "/chat/Completions"),
        ("POST", "/COMPLETIONS/"),
        ("POST", "/Embeddings"),
        ("POST", "/chat/completions/T-1/Cancel"),
        ("GET", "/Completions/t-1/cancel"),
    ],
)
def test_other_letters_lead_around_nothing(method: str, rest: str) -> None:
    """What is an endpoint of ours but for the case of its letters is not found, and never passed on."""
    with pytest.raises(Refusal) as refused:
        DIALECT.endpoint(method, rest)
    assert refused.value.status == 404


def test_a_call_goes_up_as_it_came() -> None:
    """Body, path and query of a call are the client's, byte for byte, with what we read of them beside."""
    body = b'{ "model":"m", "stream" : true,"user":"u", "messages":[] }'
    found = plan(body, "/completions")
    assert (found.body, found.path, found.query) == (body, "/completions", "a=b")
    assert (found.dialect, found.wire.name, found.model, found.user) == ("openai", "openai_completions", "m", "u")
    assert (found.streamed, found.folded, found.counts) == (True, False, True)
    assert plan(body, user="header").user == "header"


@pytest.mark.parametrize(
    ("body", "asks", "options", "strips", "wants"),
    [
        ({"stream": True}, NOTHING, None, NONE_OF_IT, NONE_OF_IT),
        ({"stream": True}, FINAL, ASKED, (True, False), NONE_OF_IT),
        ({"stream": True}, RUNNING, ASKED_ALL, (True, True), NONE_OF_IT),
        ({"stream": True, "stream_options": {"include_usage": False}}, FINAL, ASKED, (True, False), NONE_OF_IT),
        ({"stream": True, "stream_options": None}, FINAL, ASKED, (True, False), NONE_OF_IT),
        ({"stream": True, "stream_options": {"x": 1}}, FINAL, {"x": 1, **ASKED}, (True, False), NONE_OF_IT),
        ({"stream": True, "stream_options": ASKED}, FINAL, ASKED, NONE_OF_IT, (True, False)),
        ({"stream": True, "stream_options": ASKED}, RUNNING, ASKED_ALL, (False, True), (True, False)),
        ({"stream": True, "stream_options": ASKED_ALL}, RUNNING, ASKED_ALL, NONE_OF_IT, (True, True)),
        ({"stream": True, "stream_options": OWN}, RUNNING, OWN, NONE_OF_IT, (False, True)),
        ({"stream": True, "stream_options": ASKED}, NOTHING, ASKED, NONE_OF_IT, (True, False)),
        ({"stream": False}, RUNNING, None, NONE_OF_IT, NONE_OF_IT),
        ({"stream": None}, FINAL, None, NONE_OF_IT, NONE_OF_IT),
        ({}, FINAL, None, NONE_OF_IT, NONE_OF_IT),
    ],
)
def test_asking_for_usage(
    body: dict[str, Any], asks: UsageAsk, options: Any, strips: tuple[bool, bool], wants: tuple[bool, bool]
) -> None:
    """A stream is asked for its usage where that is known to work; what the client did not ask for is marked for it."""
    found = plan(body, asks=asks)
    assert json.loads(found.body).get("stream_options") == options
    assert (found.strips_usage, found.strips_running) == strips
    assert (found.wants_usage, found.wants_running) == wants
    assert found.asks_usage == (asks if any(strips) else NOTHING)
    if not any(strips):
        assert found.body == json.dumps(body).encode()


def test_folding() -> None:
    """On a folding route a non-streaming call is asked as a stream, and a streaming one stays as it is."""
    found = plan({"model": "m"}, route=FOLDING, asks=FINAL)
    assert (found.folded, found.streamed, json.loads(found.body)["stream"]) == (True, False, True)
    assert (found.wants_usage, found.strips_usage, found.strips_running) == (False, False, False)
    assert found.asks_usage == FINAL
    assert json.loads(plan({}, route=FOLDING).body) == {"stream": True, "stream_options": ASKED}
    assert json.loads(plan({}, route=FOLDING, asks=RUNNING).body) == {"stream": True, "stream_options": ASKED_ALL}
    assert json.loads(plan({}, route=FOLDING, asks=RUNNING, forbids=True).body) == {"stream": True}
    found = plan({"stream": True}, route=FOLDING)
    assert (found.folded, found.streamed) == (False, True)
    assert not plan({"input": "a"}, "/embeddings", route=FOLDING).folded


def test_other_calls_are_checked_but_not_counted() -> None:
    """Calls whose answers are not read give model, user and stream, and are not counted."""
    body = {"model": "m", "user": "u", "stream": True}
    for content_type in ("application/json", "", "text/plain"):
        found = plan(body, "/audio/speech", content_type=content_type)
        assert (found.wire.name, found.model, found.user, found.streamed) == ("opaque", "m", "u", True)
        assert not found.counts
        with pytest.raises(Refusal):
            plan(b"no JSON", "/embeddings", content_type=content_type)


def test_forms_are_not_read() -> None:
    """A form with a file is passed on as it is; one that says it is JSON is checked."""
    found = plan(b"--x", "/audio/transcriptions", content_type="multipart/form-data", user="header")
    assert (found.body, found.model, found.user, found.streamed) == (b"--x", None, "header", False)
    with pytest.raises(Refusal):
        plan(b"--x", "/audio/transcriptions")


@pytest.mark.parametrize("body", [b"", b"[]", b'{"stream":"true"}', b'{"a":1,"a":2}', b'{"a":NaN}', b'{"model":7}'])
def test_bad_bodies(body: bytes) -> None:
    """A body that breaks a rule is a 400."""
    with pytest.raises(Refusal) as refused:
        plan(body)
    assert refused.value.status == 400


def test_answers() -> None:
    """A stop is answered with the receipt, a refusal with OpenAI's error object and the refusal's headers."""
    record = a_record(outcome=Outcome.CANCELLED, cause=Cause.CLIENT, phase=Phase.STREAMING)
    reply = DIALECT.stopped(record)
    assert (reply.status, json.loads(reply.body)["result"]) == (200, "stopped")
    reply = DIALECT.refused(Refusal.too_many(3))
    assert (reply.status, dict(reply.headers)) == (429, {"Retry-After": "3"})
    assert json.loads(reply.body)["error"]["code"] == "rate_limit_exceeded"


def test_responses() -> None:
    """A response goes up as it came, and its reader may leave one in the background; its cancel is served here."""
    body = {"model": "m", "input": "x", "stream": True}
    made = plan(body, "/responses")
    assert (made.wire.name, json.loads(made.body), made.streamed) == ("openai_responses", body, True)
    assert (made.on_disconnect, made.message_id, made.strips_usage) == (None, None, False)
    background = plan({**body, "background": True}, "/responses", asks=FINAL)
    assert (background.on_disconnect, background.strips_usage) == (OnDisconnect.FINISH, False)
    assert background.message_id is not None
    assert callable(DIALECT.endpoint("POST", "/responses/resp_1/cancel"))
    assert DIALECT.endpoint("GET", "/responses/resp_1") == PassThrough()
    for method, rest, status in (("GET", "/responses/resp_1/cancel", 405), ("POST", "/Responses/resp_1/cancel", 404)):
        with pytest.raises(Refusal) as refused:
            DIALECT.endpoint(method, rest)
        assert refused.value.status == status
