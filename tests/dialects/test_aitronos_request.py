"""Reading requests of the dialect aitronos: every limit, every error by its field, and nothing else ever."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.errors import Refusal, Source
from proxy.dialects.aitronos.app import Aitronos
from proxy.dialects.aitronos.errors import Invalid, refused
from proxy.dialects.aitronos.fields import Fields
from proxy.dialects.aitronos.request import Asked, read_request

INPUTS = [{"role": "user", "content": "Hello"}]
TOOL = {"type": "function", "name": "f", "parameters": {}}


def read(**fields: Any) -> Asked:
    """Read a request with one input, and these fields."""
    return read_request(Fields({"inputs": INPUTS, **fields}), "default")


def wrong(**fields: Any) -> list[str]:
    """The paths of the fields that are refused."""
    with pytest.raises(Invalid) as raised:
        read(**fields)
    return list(raised.value.fields)


def test_least() -> None:
    """One input is enough; null counts as left out."""
    asked = read(thread_id=None, tools=None, temperature=None, output_mode=None, stream=None, model="")
    assert (asked.model, asked.streams, asked.mode, asked.thread_id) == ("default", False, "text", None)
    assert {name for name, value in asked.options.items() if value is not None} == set()


@pytest.mark.parametrize(
    ("fields", "paths"),
    [
        ({"inputs": []}, ["inputs"]),
        ({"inputs": None}, ["inputs"]),
        ({"inputs": "Hello"}, ["inputs"]),
        ({"inputs": [1]}, ["inputs.0"]),
        ({"inputs": [{"content": "x"}]}, ["inputs.0.role"]),
        ({"inputs": [{"role": "bot", "content": "x"}]}, ["inputs.0.role"]),
        ({"inputs": [{"role": "user"}]}, ["inputs.0.content"]),
        ({"inputs": [{"role": "user", "content": 3}]}, ["inputs.0.content"]),
        ({"inputs": [{"role": "user", "content": [3]}]}, ["inputs.0.content.0"]),
        ({"inputs": [{"role": "user", "content": [{"type": "x"}]}]}, ["inputs.0.content.0.type"]),
        ({"inputs": [{"role": "user", "content": [{"type": "text"}]}]}, ["inputs.0.content.0.text"]),
        ({"inputs": [{"role": "user", "content": [{"type": "file", "file_id": "f"}]}]}, ["inputs.0.content.0.file_id"]),
        ({"inputs": [{"role": "user", "content": [{"type": "image"}]}]}, ["inputs.0.content.0.image_url"]),
        ({"inputs": [{"role": "user", "content": "x", "files": [{"url": "file:///x"}]}]}, ["inputs.0.files.0.url"]),
        ({"inputs": [{"role": "user", "content": "x", "files": [{"url": "http://x"}] * 11}]}, ["inputs.0.files"]),
        ({"inputs": [{"role": "assistant", "content": "x", "files": [{"url": "http://x"}]}]}, ["inputs.0"]),
        ({"inputs": [{"role": "tool", "content": "x"}]}, ["inputs.0.tool_call_id"]),
        ({"model": 3}, ["model"]),
        ({"model": "a\nb"}, ["model"]),
        ({"thread_id": 3}, ["thread_id"]),
        ({"stream": "yes"}, ["stream"]),
        ({"output_mode": "json_schema"}, ["output_mode"]),
        ({"output_mode": "xml"}, ["output_mode"]),
        ({"instructions": "x" * 5001}, ["instructions"]),
        ({"temperature": 1.01}, ["temperature"]),
        ({"temperature": True}, ["temperature"]),
        ({"top_p": -0.1}, ["top_p"]),
        ({"max_output_synapses": 0}, ["max_output_synapses"]),
        ({"max_output_synapses": 1.5}, ["max_output_synapses"]),
        ({"tools": [TOOL] * 129}, ["tools"]),
        ({"tools": [{"type": "mcp"}]}, ["tools.0"]),
        ({"tools": [{**TOOL, "name": "1f"}]}, ["tools.0.name"]),
        ({"tools": [{**TOOL, "name": "f" * 65}]}, ["tools.0.name"]),
        ({"reasoning": {"effort": "extreme"}}, ["reasoning.effort"]),
        ({"metadata": []}, ["metadata"]),
        ({"vector_store_ids": ["vs_1"]}, ["vector_store_ids"]),
        ({"system_tools": {"web_search": {"mode": "on"}}}, ["system_tools"]),
        ({"edit_message_id": "msg_1"}, ["thread_id"]),
        ({"thread_id": "t", "edit_message_id": "a", "previous_message_id": "b"}, ["previous_message_id"]),
        ({"temperature": 2, "top_p": 2, "inputs": [{"role": "x"}]}, ["inputs.0.role", "temperature", "top_p"]),
    ],
)  # fmt: skip
def test_refused(fields: dict[str, Any], paths: list[str]) -> None:
    """Each field that is missing, wrong, or out of its limits is named by its path, all at once."""
    assert wrong(**fields) == paths


def test_at_the_limits() -> None:
    """What is just within the limits is taken."""
    asked = read(
        instructions="x" * 5000,
        temperature=1,
        top_p=0,
        max_output_synapses=1,
        tools=[{**TOOL, "name": "_" + "f" * 63}] * 128,
        inputs=[{"role": "user", "content": "x", "files": [{"url": "http://x"}] * 10}],
    )
    assert len(asked.options["tools"]) == 128
    assert len(asked.inputs[0].chat["content"]) == 11


def test_no_model_at_all() -> None:
    """Without a model in the request and on the route, the answer says where one is to be set."""
    with pytest.raises(Invalid, match="route has no default"):
        read_request(Fields({"inputs": INPUTS}), None)


def test_nothing_that_was_sent_is_in_the_error() -> None:
    """An error never repeats what was sent."""
    with pytest.raises(Invalid) as raised:
        read(thread_id=["secret"], tools=[{"type": "secret"}], output_mode="secret", inputs=[{"role": "secret"}])
    assert "secret" not in json.dumps(refused(raised.value).body.decode())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda below: st.lists(below, max_size=4) | st.dictionaries(st.text(max_size=8), below, max_size=4),
    max_leaves=12,
)
KEYS = st.sampled_from([
    "inputs", "model", "thread_id", "stream", "output_mode", "instructions", "temperature", "tools", "reasoning",
    "metadata", "store", "include", "system_tools", "edit_message_id", "previous_response_id", "max_output_synapses",
])  # fmt: skip
INPUT = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "tool", "assistant"]) | JSON, "content": JSON},
    optional={"files": JSON, "tool_call_id": JSON, "id": JSON},
)


@given(st.dictionaries(KEYS, JSON, max_size=6), st.lists(INPUT | JSON, max_size=3))
def test_random_bodies(found: dict[str, Any], inputs: list[Any]) -> None:
    """Whatever an object has in it, it is read or refused by its fields; what is read can go up as JSON."""
    refusal: Invalid | None = None
    try:
        asked = read_request(Fields({"inputs": inputs, **found}), "default")
        json.dumps([[each.chat for each in asked.inputs], asked.options])
    except Invalid as error:
        refusal = error
    if refusal is not None:
        assert refusal.fields
        assert json.loads(refused(refusal).body)["error"]["code"] == "VALIDATION_ERROR"


@pytest.mark.parametrize(
    ("refusal", "status", "code", "kind"),
    [
        (Refusal.unauthorized(), 401, "AUTHENTICATION_REQUIRED", "authentication_error"),
        (Refusal.not_found(), 404, "RESOURCE_NOT_FOUND", "client_error"),
        (Refusal.too_large(10), 413, "PAYLOAD_TOO_LARGE", "client_error"),
        (Refusal.too_many(1), 429, "RATE_LIMIT_EXCEEDED", "rate_limit_error"),
        (Refusal.overloaded(1), 503, "SERVICE_UNAVAILABLE", "server_error"),
        (Refusal.internal(), 500, "INTERNAL_ERROR", "server_error"),
        (Refusal.cancelled(), 499, "RESPONSE_CANCELLED", "client_error"),
        (Refusal(404, "rejected_upstream", "x", source=Source.UPSTREAM), 400, "MODEL_REQUEST_REJECTED", "client_error"),
        (Refusal(529, "upstream_error", "x", source=Source.UPSTREAM), 502, "MODEL_PROVIDER_ERROR", "server_error"),
    ],
)
def test_envelope(refusal: Refusal, status: int, code: str, kind: str) -> None:
    """Every refusal is the full envelope, with the headers that tell clients when to try again."""
    reply = refused(refusal)
    body = json.loads(reply.body)
    assert reply.status == status
    assert body["success"] is False
    assert (body["error"]["code"], body["error"]["type"], body["error"]["status"]) == (code, kind, status)
    assert dict(reply.headers).items() >= refusal.headers.items()


@pytest.mark.parametrize(
    "rest",
    ["/", "/chat/completions", "/threads/", "/threads/a/b", "/model/response/a", "/model/response//cancel", "/modelx"],
)
def test_paths_of_others(rest: str) -> None:
    """A path that is none of the API's is left to others."""
    assert Aitronos().endpoint("POST", rest) is None


@pytest.mark.parametrize(
    ("rest", "allowed"),
    [("/model/response", "POST"), ("/threads", "GET, POST"), ("/threads/t", "GET, PATCH, DELETE"), ("/models", "GET")],
)
def test_wrong_method(rest: str, allowed: str) -> None:
    """One of the API's paths by another method is 405, and says which ones it takes."""
    with pytest.raises(Refusal) as raised:
        Aitronos().endpoint("PUT", rest)
    assert (raised.value.status, raised.value.headers) == (405, {"Allow": allowed})
