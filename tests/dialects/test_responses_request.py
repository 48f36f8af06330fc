"""Reading a request for a response, and the upstream's request that comes of it."""

import json
import random
from typing import Any

import pytest

from proxy.core.errors import Refusal
from proxy.dialects.responses.app import Responses
from proxy.dialects.responses.chat import chat_messages
from proxy.dialects.responses.inputs import check_calls
from proxy.dialects.responses.request import Asked, read_request
from proxy.engine.dialect import AtOwner
from support.openai_types import check_item

TOOL = {"type": "function", "name": "look_up", "parameters": {"type": "object"}, "strict": True}
CALL = {"type": "function_call", "call_id": "c1", "name": "look_up", "arguments": "{}"}
RESULT = {"type": "function_call_output", "call_id": "c1", "output": "42"}


def read(**fields: Any) -> Asked:
    """A request with these fields, else the smallest."""
    return read_request({"model": "m", "input": "Hi", **fields}, None)


def refusal(**fields: Any) -> Refusal:
    """The refusal of a request with these fields."""
    with pytest.raises(Refusal) as raised:
        read(**fields)
    assert raised.value.status == 400
    return raised.value


def chat(*items: Any, instructions: str | None = None) -> list[dict[str, Any]]:
    """The upstream's messages for these items."""
    asked = read(input=list(items))
    shown = [item.shown for item in asked.items]
    for each in shown:
        check_item(each)
    check_calls(shown, len(shown))
    return chat_messages(instructions, shown)


def test_a_string() -> None:
    """A string is one message of the user; instructions go first."""
    asked = read(instructions="Be brief.")
    assert chat_messages(asked.instructions, [item.shown for item in asked.items]) == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
    ]


def test_messages_of_every_role() -> None:
    """Roles go up as they are, but for `developer`, which not every server knows; parts of text are joined."""
    assert chat(
        {"role": "developer", "content": "Be brief."},
        {"role": "system", "content": [{"type": "input_text", "text": "Be "}, {"type": "input_text", "text": "kind."}]},
        {"type": "message", "role": "user", "content": "Hi"},
        {"role": "assistant", "content": [{"type": "output_text", "text": "Hello", "annotations": []}]},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
    ) == [
        {"role": "system", "content": "Be brief."},
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello"},
        {"role": "assistant", "content": "No."},
    ]


def test_images() -> None:
    """An image by its address becomes a part of the user's message."""
    image = {"type": "input_image", "image_url": "https://host/a.png", "detail": "low"}
    assert chat({"role": "user", "content": [{"type": "input_text", "text": "What?"}, image]}) == [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What?"},
                {"type": "image_url", "image_url": {"url": "https://host/a.png", "detail": "low"}},
            ],
        }
    ]


def test_calls_and_their_results() -> None:
    """Calls of one turn become one message, reasoning is left out, results follow with their ids."""
    second = {**CALL, "call_id": "c2"}
    results = [RESULT, {**RESULT, "call_id": "c2", "output": [{"type": "input_text", "text": "43"}]}]
    reasoning = {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Hm"}]}
    said = chat("Look." and {"role": "user", "content": "Look."}, reasoning, CALL, second, *results)
    function = {"name": "look_up", "arguments": "{}"}
    calls = [{"id": ident, "type": "function", "function": function} for ident in ("c1", "c2")]
    assert said[1:] == [
        {"role": "assistant", "content": None, "tool_calls": calls},
        {"role": "tool", "tool_call_id": "c1", "content": "42"},
        {"role": "tool", "tool_call_id": "c2", "content": "43"},
    ]


@pytest.mark.parametrize(
    ("items", "param"),
    [
        ([CALL], "input"),
        ([CALL, {"role": "user", "content": "Hi"}, RESULT], "input"),
        ([RESULT], "input[0].call_id"),
        ([CALL, RESULT, RESULT], "input[2].call_id"),
    ],
)
def test_calls_without_results(items: list[Any], param: str) -> None:
    """What no upstream would take is refused here, by its place in the input."""
    with pytest.raises(Refusal) as raised:
        chat(*items)
    assert (raised.value.status, raised.value.param) == (400, param)


def test_options() -> None:
    """Each option goes up under the name that chat completions have for it."""
    schema = {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True}
    asked = read(
        max_output_tokens=9,
        temperature=0.5,
        top_p=0.25,
        tools=[TOOL],
        tool_choice={"type": "function", "name": "look_up"},
        parallel_tool_calls=False,
        text={"format": schema, "verbosity": "low"},
        reasoning={"effort": "low", "summary": "auto"},
        user="ann",
    )
    function = {"name": "look_up", "parameters": {"type": "object"}, "strict": True}
    assert asked.options == {
        "max_tokens": 9,
        "temperature": 0.5,
        "top_p": 0.25,
        "tools": [{"type": "function", "function": function}],
        "tool_choice": {"type": "function", "function": {"name": "look_up"}},
        "parallel_tool_calls": False,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": True},
        },
        "verbosity": "low",
        "reasoning_effort": "low",
    }
    assert asked.user == "ann"
    assert asked.shown["text"]["format"] == schema


def test_the_smallest_request_asks_nothing_more() -> None:
    """Nothing goes up that was not asked for."""
    asked = read()
    assert {name for name, value in asked.options.items() if value is not None} == set()
    assert (asked.store, asked.background, asked.streams) == (True, False, False)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"tools": [{"type": "mcp", "server_label": "s"}]}, "tools[0].type"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}]},
            "input[0].content[0].type",
        ),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]},
            "input[0].content[0].file_id",
        ),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input[0].type"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"truncation": "auto"}, "truncation"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"include": ["message.output_text.logprobs"]}, "include[0]"),
        ({"tool_choice": {"type": "web_search_preview"}}, "tool_choice.type"),
    ],
)
def test_what_cannot_be_had(fields: dict[str, Any], param: str) -> None:
    """What would be missed in the answer is refused by its name."""
    found = refusal(**fields)
    assert (found.code, found.param) == ("unsupported_parameter", param)
    assert param in found.message


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": None}, "input"),
        ({"input": []}, "input"),
        ({"input": 7}, "input"),
        ({"input": [7]}, "input[0]"),
        ({"input": [{"role": "robot", "content": "x"}]}, "input[0].role"),
        ({"input": [{"role": "user", "content": 7}]}, "input[0].content"),
        ({"input": [{"role": "user", "content": [{"type": "input_text"}]}]}, "input[0].content[0].text"),
        ({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "ftp://x"}]}]}, "image_url"),
        ({"input": [{**CALL, "name": None}]}, "input[0].name"),
        ({"model": None}, "model"),
        ({"temperature": 3}, "temperature"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"max_output_tokens": True}, "max_output_tokens"),
        ({"metadata": {"a": 1}}, "metadata"),
        ({"background": True, "store": False}, "background"),
        ({"background": "yes"}, "background"),
        ({"tools": [{"type": "function", "name": "not a name"}]}, "tools[0].name"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": {"type": "function", "name": "f"}}, "tool_choice.name"),
        ({"text": {"format": {"type": "json_schema", "name": "n"}}}, "text.format.schema"),
        ({"reasoning": {"effort": "huge"}}, "reasoning.effort"),
        ({"previous_response_id": 7}, "previous_response_id"),
        ({"no_such_field": 1}, "no_such_field"),
    ],
)
def test_wrong_fields(fields: dict[str, Any], param: str) -> None:
    """A field that is wrong is named, with what was expected, and never repeated."""
    found = refusal(**fields)
    assert (found.param or "").endswith(param)
    assert "robot" not in found.message
    assert "ftp" not in found.message


def test_paths() -> None:
    """Everything at and below `/responses` is served here or refused; nothing else is."""
    dialect = Responses()
    assert callable(dialect.endpoint("POST", "/responses"))
    assert callable(dialect.endpoint("POST", "/responses/"))
    assert isinstance(dialect.endpoint("GET", "/responses/resp_1"), AtOwner)
    assert dialect.endpoint("POST", "/chat/completions") is None
    assert dialect.endpoint("POST", "/responsesx") is None
    for method, path, status in (
        ("GET", "/responses", 405),
        ("GET", "/responses/resp_1/cancel", 405),
        ("POST", "/Responses", 404),
        ("POST", "/responses/resp_1/unknown", 404),
        ("POST", "/responses/resp_1/input_items/x", 404),
    ):
        with pytest.raises(Refusal) as raised:
            dialect.endpoint(method, path)
        assert raised.value.status == status


WORDS = ("input", "role", "user", "content", "type", "message", "text", "tools", "function", "name", "input_text", "")


def a_value(chance: random.Random, depth: int) -> Any:
    """A random JSON value."""
    match chance.randrange(8 if depth else 6):
        case 0:
            return None
        case 1:
            return chance.choice((True, False))
        case 2:
            return chance.choice((0, -1, 1.5, 2**63))
        case 3 | 4 | 5:
            return chance.choice(WORDS)
        case 6:
            return [a_value(chance, depth - 1) for _ in range(chance.randrange(4))]
    return {chance.choice(WORDS): a_value(chance, depth - 1) for _ in range(chance.randrange(6))}


def test_random_values() -> None:
    """No value of any field raises anything but a refusal, and what is taken can be sent up."""
    chance = random.Random(2)
    names = ("input", "tools", "tool_choice", "text", "reasoning", "metadata", "include", "stream_options", "prompt")
    taken = 0
    for _ in range(5000):
        fields = {chance.choice(names): a_value(chance, 4) for _ in range(2)}
        try:
            asked = read(**fields)
        except Refusal:
            continue
        taken += 1
        json.dumps(chat_messages(asked.instructions, [item.shown for item in asked.items]))
    assert taken
