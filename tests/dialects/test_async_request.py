"""Async messages, the request: Anthropic's shape becomes a chat completion's, field by field, or is refused by name."""

import copy
import json
from typing import Any

import pytest

from proxy.core.errors import Refusal, Source, UpstreamErrorKind
from proxy.dialects.async_messages.app import AsyncMessages
from proxy.dialects.async_messages.errors import refused
from proxy.dialects.async_messages.request import read_id, read_request

ASKED: dict[str, Any] = {"model": "m", "max_tokens": 64, "messages": [{"role": "user", "content": "Hi"}]}
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}
LINKED = {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}}
TOOL = {"name": "weather", "description": "Tells.", "input_schema": {"type": "object"}}
FUNCTION = {"name": "weather", "description": "Tells.", "parameters": {"type": "object"}}


def turn(role: str, *blocks: Any) -> dict[str, Any]:
    """A message of content blocks."""
    return {"role": role, "content": list(blocks)}


def words(text: str) -> dict[str, Any]:
    """A text block."""
    return {"type": "text", "text": text}


def test_plain() -> None:
    """What has a name in both formats is passed on; `stream`, `top_k` and unknown fields are not."""
    extra = {"temperature": 0.5, "top_p": 1, "seed": 3, "stop_sequences": ["END"], "stream": True, "top_k": 4, "x": 1}
    asked = read_request({**ASKED, **extra, "metadata": {"user_id": "ann"}, "thinking": {"type": "enabled"}}, None)
    assert (asked.model, asked.user, asked.count, asked.thinking) == ("m", "ann", 1, True)
    assert asked.messages == ASKED["messages"]
    sent = {name: value for name, value in asked.fields.items() if value is not None}
    assert sent == {"max_tokens": 64, "temperature": 0.5, "top_p": 1, "seed": 3, "stop": ["END"]}


@pytest.mark.parametrize(
    ("named", "default", "model"),
    [("m", None, "m"), ("m", "r", "m"), ("default", "r", "r"), (None, "r", "r"), ("default", None, "default")],
)
def test_model(named: str | None, default: str | None, model: str) -> None:
    """A request's own model goes first; none, or `default`, is the route's."""
    assert read_request({**ASKED, "model": named}, default).model == model


@pytest.mark.parametrize("system", ["Be brief.", words("Be brief."), [words("Be brief.")]])
def test_system(system: Any) -> None:
    """The system prompt may be a string, a block or a list of blocks, and goes first."""
    asked = read_request({**ASKED, "system": system}, None)
    assert asked.messages == [{"role": "system", "content": "Be brief."}, *ASKED["messages"]]


def test_content_blocks() -> None:
    """Texts are joined, images become parts, calls and results of tools stand where chat completions want them."""
    call = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Zürich"}}
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": [words("Rain."), IMAGE], "is_error": False}
    turns = [
        turn("user", words("One."), words("Two.")),
        turn("assistant", {"type": "thinking", "thinking": "hm", "signature": ""}, words("Let me look."), call),
        turn("user", result, words("And?"), LINKED),
        turn("assistant", {**call, "id": "toolu_2"}),
        turn("user", {"type": "tool_result", "tool_use_id": "toolu_2"}),
    ]

    def called(ident: str) -> dict[str, Any]:
        function = {"name": "weather", "arguments": '{"city": "Zürich"}'}
        return {"id": ident, "type": "function", "function": function}

    assert read_request({**ASKED, "messages": turns}, None).messages == [
        {"role": "user", "content": "One.\nTwo."},
        {"role": "assistant", "content": "Let me look.", "tool_calls": [called("toolu_1")]},
        {"role": "tool", "tool_call_id": "toolu_1", "content": "Rain."},
        {
            "role": "user",
            "content": [
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}},
                words("And?"),
                {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
            ],
        },
        {"role": "assistant", "content": None, "tool_calls": [called("toolu_2")]},
        {"role": "tool", "tool_call_id": "toolu_2", "content": ""},
    ]


@pytest.mark.parametrize(
    ("choice", "sent"),
    [
        (None, {}),
        ({"type": "auto"}, {"tool_choice": "auto"}),
        ({"type": "any", "disable_parallel_tool_use": True}, {"tool_choice": "required", "parallel_tool_calls": False}),
        ({"type": "none"}, {"tool_choice": "none"}),
        ({"type": "tool", "name": "weather"}, {"tool_choice": {"type": "function", "function": {"name": "weather"}}}),
    ],
)
def test_tools(choice: Any, sent: dict[str, Any]) -> None:
    """Tools become functions, and each way to choose among them has its counterpart."""
    fields = read_request({**ASKED, "tools": [TOOL], "tool_choice": choice}, None).fields
    wanted = {"max_tokens": 64, "tools": [{"type": "function", "function": FUNCTION}], **sent}
    assert {name: value for name, value in fields.items() if value is not None} == wanted


def test_output_format() -> None:
    """A JSON schema of Anthropic's form is asked for in OpenAI's."""
    config = {"format": {"type": "json_schema", "schema": {"type": "object"}}}
    fields = read_request({**ASKED, "output_config": config}, None).fields
    wanted = {"type": "json_schema", "json_schema": {"name": "answer", "schema": {"type": "object"}}}
    assert fields["response_format"] == wanted


def changed(**fields: Any) -> dict[str, Any]:
    """The plain request with other fields; None takes one out."""
    return {name: value for name, value in {**ASKED, **fields}.items() if value is not None}


def said(*blocks: Any, role: str = "user") -> dict[str, Any]:
    """The plain request with these blocks as its only message."""
    return changed(messages=[turn(role, *blocks)])


@pytest.mark.parametrize(
    ("body", "where"),
    [
        (changed(model=None), ["model"]),
        (changed(model=1), ["model"]),
        (changed(model="a\nb"), ["model"]),
        (changed(messages=None), ["messages"]),
        (changed(messages=[]), ["messages"]),
        (changed(messages=["x"]), ["messages", 0]),
        (changed(messages=[{"role": "tool", "content": "x"}]), ["messages", 0, "role"]),
        (changed(messages=[{"role": "user", "content": ""}]), ["messages", 0, "content"]),
        (changed(messages=[{"role": "user"}]), ["messages", 0, "content"]),
        (changed(messages=[{"role": "system", "content": "x"}]), ["messages", 0, "role"]),
        (said(), ["messages", 0, "content"]),
        (said("x"), ["messages", 0, "content", 0]),
        (said({"type": "video"}), ["messages", 0, "content", 0, "type"]),
        (said({"type": "text"}), ["messages", 0, "content", 0, "text"]),
        (said({"type": "image"}), ["messages", 0, "content", 0, "source"]),
        (said({"type": "image", "source": {"type": "file"}}), ["messages", 0, "content", 0, "source", "type"]),
        (
            said({"type": "image", "source": {"type": "url", "url": "file:///etc/passwd"}}),
            ["messages", 0, "content", 0, "source", "url"],
        ),
        (said({"type": "tool_result"}), ["messages", 0, "content", 0, "tool_use_id"]),
        (said({"type": "tool_use", "id": "a"}, role="assistant"), ["messages", 0, "content", 0, "name"]),
        (changed(system=1), ["system"]),
        (changed(max_tokens=0), ["max_tokens"]),
        (changed(max_tokens=True), ["max_tokens"]),
        (changed(temperature=1.5), ["temperature"]),
        (changed(top_p="1"), ["top_p"]),
        (changed(top_k=-1), ["top_k"]),
        (changed(stream="yes"), ["stream"]),
        (changed(stop_sequences="END"), ["stop_sequences"]),
        (changed(stop_sequences=[1]), ["stop_sequences", 0]),
        (changed(service_tier="fast"), ["service_tier"]),
        (changed(thinking={"type": "deep"}), ["thinking", "type"]),
        (changed(metadata={"user_id": 1}), ["metadata", "user_id"]),
        (changed(tools={}), ["tools"]),
        (changed(tools=[{"name": "a"}]), ["tools", 0, "input_schema"]),
        (changed(tools=[{"type": "web_search_20250305", "name": "a"}]), ["tools", 0, "type"]),
        (changed(tool_choice={"type": "any"}), ["tool_choice"]),
        (changed(tools=[TOOL], tool_choice={"type": "tool", "name": "x"}), ["tool_choice", "name"]),
        (changed(mcp_servers=[{"url": "x"}]), ["mcp_servers"]),
        (changed(output_config={"format": {"type": "yaml"}}), ["output_config", "format", "type"]),
    ],
)
def test_refused(body: dict[str, Any], where: list[Any]) -> None:
    """A field that is missing or wrong is named in a 422 of both shapes, without what was sent."""
    with pytest.raises(Refusal) as caught:
        read_request(copy.deepcopy(body), None)
    reply = refused(caught.value)
    told = json.loads(reply.body)
    assert reply.status == 422
    assert [each["loc"] for each in told["detail"]] == [["body", *where]]
    assert (told["type"], told["error"]["type"]) == ("error", "invalid_request_error")
    assert told["detail"][0]["type"] == "value_error"
    assert told["detail"][0]["msg"] == told["error"]["message"]
    assert "passwd" not in reply.body.decode()


@pytest.mark.parametrize("query", ["message_id=", "message_id=a%2Fb", "message_id=a&message_id=b", "message_id=%C3%A9"])
def test_id_refused(query: str) -> None:
    """An id that could not stand in the paths of the API is refused, and so are two of them."""
    with pytest.raises(Refusal) as caught:
        read_id(query)
    assert json.loads(refused(caught.value).body)["detail"][0]["loc"] == ["query", "message_id"]


def test_id() -> None:
    """An id is taken as it is given; without one there is none, whatever else the query has."""
    assert read_id("a=1&message_id=msg_async_12345") == "msg_async_12345"
    assert read_id("a=1") is None


@pytest.mark.parametrize(
    ("refusal", "status", "kind"),
    [
        (Refusal.unauthorized(), 401, "authentication_error"),
        (Refusal.not_found(), 404, "not_found_error"),
        (Refusal.too_large(10), 413, "request_too_large"),
        (Refusal.too_many(1), 429, "rate_limit_error"),
        (Refusal.overloaded(5), 529, "overloaded_error"),
        (Refusal.internal(), 500, "api_error"),
        (Refusal.bad_request("task_id_in_use", "In use."), 400, "invalid_request_error"),
        (Refusal.bad_request("id_in_use", "In use."), 422, "invalid_request_error"),
        (Refusal(402, "rejected_upstream", "Pay.", source=Source.UPSTREAM), 402, "billing_error"),
        (Refusal.upstream(UpstreamErrorKind.RESET), 502, "api_error"),
        (Refusal.upstream(UpstreamErrorKind.IDLE_TIMEOUT), 504, "timeout_error"),
    ],
)
def test_error_types(refusal: Refusal, status: int, kind: str) -> None:
    """Each refusal has Anthropic's type and status, and keeps its headers; 401 asks for a credential."""
    reply = refused(refusal)
    told = json.loads(reply.body)
    assert (reply.status, told["error"]["type"]) == (status, kind)
    headers = dict(reply.headers)
    assert headers.items() >= {key: value for key, value in refusal.headers.items() if key == "Retry-After"}.items()
    if status == 401:
        assert (told["detail"], headers["WWW-Authenticate"][:5]) == ("Not authenticated", "Basic")


@pytest.mark.parametrize("rest", ["/messages", "/chat/completions", "/messages/asynchronous", "/v1/messages/async"])
def test_paths_of_others(rest: str) -> None:
    """A path that is none of this API's is left to the route's next dialect."""
    assert AsyncMessages().endpoint("POST", rest) is None


@pytest.mark.parametrize("rest", ["/Messages/Async", "/messages/ASYNC/m-1/cancel", "/messages/async/m-1/pause"])
def test_paths_of_nobody(rest: str) -> None:
    """One of ours in other letters, or one that we don't know below ours, is 404 and never somebody else's."""
    with pytest.raises(Refusal) as caught:
        AsyncMessages().endpoint("POST", rest)
    assert caught.value.status == 404
