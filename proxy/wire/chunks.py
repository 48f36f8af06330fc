"""OpenAI-shaped JSON (chunks of a stream, whole answers) read into types, forgivingly.

The typed decoder does nearly all of it. What it refuses (a lone surrogate, NaN, a field of another type) is read again
by the standard library and taken field by field, so that one odd field never loses the text beside it.
"""

import json
from typing import Any

import msgspec


class Function(msgspec.Struct, gc=False):
    """The function of a tool call, or what came of it."""

    name: str | None = None
    arguments: str | None = None


class CustomTool(msgspec.Struct, gc=False):
    """A tool call whose input is free text."""

    name: str | None = None
    input: str | None = None


class ToolCall(msgspec.Struct, gc=False):
    """A tool call, or what came of it."""

    index: int | None = None
    id: str | None = None
    function: Function | None = None
    custom: CustomTool | None = None


class Message(msgspec.Struct, gc=False):
    """A message, or the delta of one. Servers name the reasoning's text in two ways, some in both at once."""

    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[ToolCall] | None = None
    function_call: Function | None = None


class Choice(msgspec.Struct, gc=False):
    """One choice: of a chat chunk (`delta`), a chat answer (`message`) or a completion (`text`)."""

    index: int = 0
    delta: Message | None = None
    message: Message | None = None
    text: str | None = None
    finish_reason: str | None = None


class Chunk(msgspec.Struct, gc=False):
    """What every chunk is read for."""

    choices: list[Choice] | None = None
    usage: Any = None
    error: Any = None


class NamedChunk(Chunk, gc=False):
    """A chunk with the facts that are the same in all of them, read until they are known."""

    id: str | None = None
    model: str | None = None
    created: int | None = None


_CHUNK = msgspec.json.Decoder(Chunk)
_NAMED_CHUNK = msgspec.json.Decoder(NamedChunk)
_ANYTHING = msgspec.json.Decoder()


def read_chunk(data: bytes, *, named: bool) -> Chunk | None:
    """Read one chunk or answer; `named` reads the facts of `NamedChunk` too. None when it is no JSON object."""
    try:
        return (_NAMED_CHUNK if named else _CHUNK).decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        found = read_object(data)
        return None if found is None else _chunk(found)


def read_chunks(data: list[bytes]) -> list[Chunk] | None:
    """Read many chunks in one go, without the facts of `NamedChunk`; None when they have to be read one by one.

    Where `}` ends a line and `{` begins the next no JSON value goes on, and none can have a line break in a string:
    so as many values as lines means one a line, as if each had been read by itself.
    """
    for each in data:
        if not (each.startswith(b"{") and each.endswith(b"}")):
            return None
    try:
        found = _CHUNK.decode_lines(b"\n".join(data))
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    return found if len(found) == len(data) else None


def read_object(data: bytes) -> dict[str, Any] | None:
    """Read a JSON object as the most patient clients do; None when it is none. Never raises."""
    try:
        found = json.loads(data.decode(errors="replace"))
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def read_quickly(data: bytes) -> dict[str, Any] | None:
    """The same, by the quick reader first: for formats without types of their own here."""
    try:
        found = _ANYTHING.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return read_object(data)
    return found if isinstance(found, dict) else None


def compact_json(value: object) -> str:
    """A value as JSON without blanks; nothing when it can't be written. Never raises."""
    try:
        return msgspec.json.encode(value).decode()
    except (msgspec.MsgspecError, ValueError, OverflowError, RecursionError):
        return ""


def _chunk(found: dict[str, Any]) -> NamedChunk:
    choices = found.get("choices")
    return NamedChunk(
        choices=[_choice(each) for each in choices if isinstance(each, dict)] if isinstance(choices, list) else None,
        usage=found.get("usage"),
        error=found.get("error"),
        id=_text(found, "id"),
        model=_text(found, "model"),
        created=_number(found, "created"),
    )


def _choice(found: dict[str, Any]) -> Choice:
    return Choice(
        index=_number(found, "index") or 0,
        delta=_message(found.get("delta")),
        message=_message(found.get("message")),
        text=_text(found, "text"),
        finish_reason=_text(found, "finish_reason"),
    )


def _message(found: object) -> Message | None:
    if not isinstance(found, dict):
        return None
    calls = found.get("tool_calls")
    message = Message(
        content=_text(found, "content"),
        reasoning_content=_text(found, "reasoning_content"),
        reasoning=_text(found, "reasoning"),
        refusal=_text(found, "refusal"),
        tool_calls=[_tool_call(each) for each in calls if isinstance(each, dict)] if isinstance(calls, list) else None,
        function_call=_function(found.get("function_call")),
    )
    if isinstance(found.get("content"), list):
        message.content = _parts(found["content"], "text")
        message.reasoning_content = _parts(
            [part for each in found["content"] if isinstance(each, dict) for part in _list(each.get("thinking"))],
            "text",
        )
    return message


def _tool_call(found: dict[str, Any]) -> ToolCall:
    custom = found.get("custom")
    return ToolCall(
        index=_number(found, "index"),
        id=_text(found, "id"),
        function=_function(found.get("function")),
        custom=CustomTool(_text(custom, "name"), _text(custom, "input")) if isinstance(custom, dict) else None,
    )


def _function(found: object) -> Function | None:
    return Function(_text(found, "name"), _text(found, "arguments")) if isinstance(found, dict) else None


def _parts(parts: list[Any], key: str) -> str | None:
    """The text of a content that comes in parts, as Mistral's reasoning models send it."""
    return "".join(_text(part, key) or "" for part in parts if isinstance(part, dict)) or None


def _list(found: object) -> list[Any]:
    return found if isinstance(found, list) else []


def _text(found: dict[str, Any], key: str) -> str | None:
    value = found.get(key)
    return value if isinstance(value, str) else None


def _number(found: dict[str, Any], key: str) -> int | None:
    value = found.get(key)
    return value if type(value) is int else None
