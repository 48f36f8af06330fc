"""Tests of proxy.core.prompt and proxy.core.function_types: a prompt's tokens, as OpenAI counts them."""

import json
from typing import Any

import bpe_openai
import pytest

from proxy.core.function_types import function_types
from proxy.core.prompt import read_prompt


def tokens(text: str) -> int:
    """What the tokenizer says of a text."""
    return len(bpe_openai.get_encoding("o200k_base").encode_ordinary(text))


def counted(request: Any) -> int | None:
    """The tokens of a request's prompt."""
    prompt = read_prompt(request)
    return None if prompt is None else prompt.tokens + sum(map(tokens, prompt.texts))


def said(content: Any, role: str = "user", **more: Any) -> dict[str, Any]:
    """A request with one message."""
    return {"messages": [{"role": role, "content": content, **more}]}


CALL = {"type": "function", "id": "call_1", "function": {"name": "look", "arguments": '{"at":1}'}}
FUNCTION = {"name": "look", "description": "Look there", "parameters": {"type": "object", "properties": {}}}
LOOK = "namespace functions {\n\n// Look there\ntype look = () => any;\n\n} // namespace functions"
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}
ANSWER = {"name": "x", "schema": SCHEMA}
HELLO = 3 + 1 + 1
"""A message of the role user that says hello."""


@pytest.mark.parametrize(
    ("request_body", "expected"),
    [
        ({"messages": []}, 3),
        (said("hello"), HELLO + 3),
        (said("hello", name="ann"), HELLO + tokens("ann") + 1 + 3),
        ({"messages": [*said("hello")["messages"], {"role": "assistant", "content": None}]}, HELLO + 4 + 3),
        (said([{"type": "text", "text": "hello"}, {"type": "text", "text": "hello"}]), HELLO + 1 + 3),
        ({"messages": ["no message"], "prompt": "x"}, 3 + 3),
        (said("", "assistant", tool_calls=[CALL]), 4 + tokens("look") + tokens('{"at":1}') + 3 + 3),
        (said("", "assistant", function_call=CALL["function"]), 4 + tokens("look") + tokens('{"at":1}') + 3 + 3),
        (said("hello", "tool", tool_call_id="call_1"), HELLO + 3),
        (said("hello", "function", name="look"), HELLO + tokens("look") + 1 - 2 + 3),
        ({**said("hello"), "tools": [{"type": "function", "function": FUNCTION}]}, HELLO + 3 + tokens(LOOK) + 9),
        ({**said("hello"), "functions": [FUNCTION]}, HELLO + 3 + tokens(LOOK) + 9),
        (
            {**said("hello", "system"), "functions": [FUNCTION]},
            HELLO - 1 + tokens("hello\n") + 3 + tokens(LOOK) + 9 - 4,
        ),
        ({**said("hello"), "tool_choice": "none"}, HELLO + 3 + 1),
        ({**said("hello"), "tool_choice": "auto"}, HELLO + 3),
        (
            {**said("hello"), "tool_choice": {"type": "function", "function": {"name": "look"}}},
            HELLO + 3 + tokens("look") + 4,
        ),
        (
            {
                **said("hello"),
                "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}},
            },
            HELLO + 3 + tokens("# Response Formats\n\n## x\n\n" + json.dumps(SCHEMA, separators=(",", ":"))),
        ),
        ({**said("hello"), "response_format": {"type": "json_object"}}, HELLO + 3),
        ({"prompt": "hello world"}, 2),
        ({"prompt": "hello", "suffix": "world"}, 1 + tokens("world")),
        ({"prompt": ["hello", "hello world"]}, 3),
        ({"prompt": [1, 2, 3]}, 3),
        ({"prompt": [[1, 2], [3]]}, 3),
        ({"input": "hello"}, HELLO + 3),
        ({"input": [{"role": "user", "content": [{"type": "input_text", "text": "hello"}]}]}, HELLO + 3),
        ({"input": "hello", "instructions": "hello"}, HELLO + HELLO + 3),
        ({"input": "hello", "tools": [{"type": "function", **FUNCTION}]}, HELLO + 3 + tokens(LOOK) + 9),
        ({"input": [{"type": "function_call_output", "call_id": "c", "output": "hello"}]}, 3 + 1 + 3),
        ({"system": "hello", **said("hello")}, HELLO + HELLO + 3),
        ({"messages": 7, "model": "x"}, None),
        ([], None),
        (None, None),
    ],
)
def test_a_prompt_is_counted_as_openai_counts(request_body: Any, expected: int | None) -> None:
    """Messages, names, calls, functions, schemas, plain prompts in all their forms, and responses like chats."""
    assert counted(request_body) == expected


@pytest.mark.parametrize(
    ("request_body", "whole"),
    [
        (said("hello"), True),
        ({**said("hello"), "tools": [{"type": "function", "function": FUNCTION}]}, True),
        (said([{"type": "image_url", "image_url": {"url": "http://h/x.png"}}]), False),
        (said([{"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}]), False),
        ({"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]}, False),
        ({"input": "hello", "previous_response_id": "resp_1"}, False),
        ({"input": "hello", "prompt": {"id": "pmpt_1"}}, False),
        ({"input": "hello", "tools": [{"type": "web_search"}]}, False),
    ],
)
def test_what_can_not_be_counted_is_told(request_body: Any, whole: bool) -> None:
    """Pictures, sound, and what only the provider has make the count a lower bound."""
    prompt = read_prompt(request_body)
    assert prompt is not None
    assert prompt.whole is whole


def test_functions_become_types() -> None:
    """Properties with their descriptions, enums, lists, objects in objects, several kinds, in TypeScript's words."""
    place = {"type": "object", "properties": {"x": {"type": "integer", "description": "Not told"}}, "required": ["x"]}
    parameters = {
        "type": "object",
        "required": ["where"],
        "properties": {
            "where": {"type": "string", "description": "A place"},
            "how": {"type": "string", "enum": ["fast", "slow"]},
            "often": {"enum": [1, 2]},
            "tags": {"type": "array", "items": {"type": "string"}},
            "any": {"type": "array"},
            "place": place,
            "either": {"anyOf": [{"type": "string"}, {"type": "null"}]},
            "both": {"type": ["number", "null"]},
            "odd": {},
        },
    }
    assert function_types([{"name": "go", "parameters": parameters}]).splitlines() == [
        "namespace functions {",
        "",
        "type go = (_: {",
        "// A place",
        "where: string,",
        'how?: "fast" | "slow",',
        "often?: 1 | 2,",
        "tags?: string[],",
        "any?: any[],",
        "place?: {",
        "  x: number,",
        "},",
        "either?: string | null,",
        "both?: number | null,",
        "odd?: any,",
        "}) => any;",
        "",
        "} // namespace functions",
    ]


def test_no_schema_explodes() -> None:
    """Objects of several kinds in each other are written out once, however deep."""
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(60):
        schema = {"type": ["object", "array"], "properties": {"a": schema}, "items": schema}
    assert len(function_types([{"name": "x", "parameters": {"properties": {"a": schema}}}])) < 10_000
