"""From a request's body to the answer that will be given: what is said, in how many choices, and how it ends."""

import json
import re
from dataclasses import dataclass
from typing import Any

from proxy.core.errors import Refusal
from proxy.demo.options import DemoOptions, read_options
from proxy.demo.shapes import FinishReason
from proxy.demo.text import pieces, texts

MOST_CHOICES = 128

CALL_A_TOOL = "call a tool"
"""What the last message must say for a tool to be called."""

_EXAMPLES: dict[str, Any] = {"number": 1, "integer": 1, "boolean": True, "array": [], "object": {}, "null": None}


@dataclass(frozen=True, slots=True)
class Plan:
    """The answer as planned. `tool` is the name of the tool that is called, or None."""

    model: str
    stream: bool
    with_usage: bool
    choices: int
    pieces: list[str]
    reason: FinishReason
    tool: str | None
    options: DemoOptions

    @property
    def tokens(self) -> int:
        """How many tokens are made, over all choices."""
        return len(self.pieces) * self.choices


def read_plan(raw: bytes) -> Plan:
    """Plan the answer to a request.

    Raises:
        Refusal: 400, with the field at fault and what was expected.
    """
    body = read_object(raw)
    options = read_options(body)
    stream_options = body.get("stream_options") or {}
    if not isinstance(stream_options, dict):
        raise _wrong("stream_options", "an object or null")
    tool = _tool_to_call(body)
    said = _cut(_arguments(tool)) if tool else pieces(options.tokens)
    limit = _limit(body)
    full: FinishReason = "tool_calls" if tool else "stop"
    return Plan(
        model=_model(body),
        stream=_flag(body, "stream"),
        with_usage=_flag(stream_options, "include_usage"),
        choices=_whole(body, "n", MOST_CHOICES) or 1,
        pieces=said[:limit],
        reason="length" if limit is not None and limit < len(said) else full,
        tool=tool["name"] if tool else None,
        options=options,
    )


def read_object(raw: bytes) -> dict[str, Any]:
    """The body of a request.

    Raises:
        Refusal: 400, it is no JSON object.
    """
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        raise Refusal.bad_request("invalid_json", "The request body is not JSON.") from None
    if not isinstance(body, dict):
        raise Refusal.bad_request("invalid_json", "The request body is not a JSON object.")
    return body


def _wrong(field: str, expected: str) -> Refusal:
    return Refusal.bad_request("invalid_request", f"{field}: expected {expected}.", field)


def _model(body: dict[str, Any]) -> str:
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise _wrong("model", "a name; any will do, such as demo")
    return model


def _flag(body: dict[str, Any], field: str) -> bool:
    value = body.get(field)
    if value is not None and not isinstance(value, bool):
        raise _wrong(field, "true or false")
    return bool(value)


def _whole(body: dict[str, Any], field: str, most: int) -> int | None:
    value = body.get(field)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise _wrong(field, f"a whole number of 1 to {most}")
    return value


def _limit(body: dict[str, Any]) -> int | None:
    """The lower of both limits that a client may set, or None."""
    limits = [_whole(body, field, 2**31) for field in ("max_tokens", "max_completion_tokens")]
    return min((limit for limit in limits if limit is not None), default=None)


def _tool_to_call(body: dict[str, Any]) -> dict[str, Any] | None:
    """The first function among the tools, when the last message is the user's and asks for a call."""
    tools, messages = body.get("tools"), body.get("messages")
    if not isinstance(tools, list) or not isinstance(messages, list) or not messages:
        return None
    last = messages[-1]
    if not isinstance(last, dict) or last.get("role") != "user":
        return None
    if not any(CALL_A_TOOL in text.lower() for text in texts(last)):
        return None
    functions = [tool.get("function") for tool in tools if isinstance(tool, dict)]
    return next((f for f in functions if isinstance(f, dict) and isinstance(f.get("name"), str)), None)


def _arguments(tool: dict[str, Any]) -> str:
    """Made-up arguments: an example value for each parameter that the tool requires."""
    schema = tool.get("parameters")
    required = schema.get("required") if isinstance(schema, dict) else None
    if not isinstance(schema, dict) or not isinstance(required, list):
        return "{}"
    return json.dumps({str(name): _example(schema.get("properties"), str(name)) for name in required})


def _example(properties: Any, name: str) -> Any:
    field = properties.get(name) if isinstance(properties, dict) else None
    kind = field.get("type") if isinstance(field, dict) else None
    return _EXAMPLES.get(kind, "demo") if isinstance(kind, str) else "demo"


def _cut(text: str) -> list[str]:
    return re.findall(r"\w+|\W", text)
