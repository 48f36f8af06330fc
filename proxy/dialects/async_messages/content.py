"""The conversation of a request: Anthropic's messages with content blocks become chat messages.

Sources: Anthropic's Messages API (input messages), OpenAI's API reference (Create chat completion).
"""

import json
from typing import Any, Final

from proxy.dialects.async_messages import fields
from proxy.dialects.async_messages.errors import invalid
from proxy.dialects.async_messages.fields import Where

ROLES: Final = ("user", "assistant", "system")
IMAGES: Final = ("image/jpeg", "image/png", "image/gif", "image/webp")
UNSPOKEN: Final = frozenset({"thinking", "redacted_thinking"})
"""Blocks of an earlier answer that no upstream takes back."""

ChatMessage = dict[str, Any]


def read_system(found: Any) -> list[ChatMessage]:
    """The system prompt: a string, a text block or a list of them."""
    where = ("system",)
    if found is None or found in ("", []):
        return []
    if isinstance(found, str):
        return [{"role": "system", "content": found}]
    if not isinstance(found, dict | list):
        raise invalid(where, "must be a string, a text block or a list of text blocks")
    return [{"role": "system", "content": _texts(found if isinstance(found, list) else [found], where)}]


def read_messages(found: Any) -> list[ChatMessage]:
    """The turns so far; one turn may become several messages, as results of tools stand for themselves.

    Raises:
        Refusal: 422, there is none, one is empty or can't be understood, or the last one is not to be answered.
    """
    turns = fields.items(found, ("messages",))
    said: list[ChatMessage] = []
    for number, turn in enumerate(turns):
        said += _turn(turn, ("messages", number))
    if turns[-1]["role"] == "system":
        raise invalid(("messages", len(turns) - 1, "role"), "must be user or assistant in the last message")
    return said


def _turn(found: Any, where: Where) -> list[ChatMessage]:
    turn = fields.mapping(found, where)
    role = fields.word(turn.get("role"), (*where, "role"), *ROLES)
    content, inside = turn.get("content"), (*where, "content")
    if isinstance(content, str):
        return [{"role": role, "content": fields.text(content, inside)}]
    if not isinstance(content, list):
        raise invalid(inside, "must be a string or a list of content blocks")
    blocks = fields.items(content, inside)
    match role:
        case "user":
            return _user(blocks, inside)
        case "assistant":
            return [_assistant(blocks, inside)]
        case _:
            return [{"role": role, "content": _texts(blocks, inside)}]


def _user(blocks: list[Any], where: Where) -> list[ChatMessage]:
    results: list[ChatMessage] = []
    parts: list[dict[str, Any]] = []
    for number, found in enumerate(blocks):
        at = (*where, number)
        block = fields.mapping(found, at)
        kind = fields.word(block.get("type"), (*at, "type"), "text", "image", "tool_result")
        if kind == "tool_result":
            inner = _result(block, at)
            results.append(
                {
                    "role": "tool",
                    "tool_call_id": fields.text(block.get("tool_use_id"), (*at, "tool_use_id")),
                    "content": _joined(inner),
                }
            )
            parts += [part for part in inner if part["type"] != "text"]  # a tool's message has no room for images
        else:
            parts.append(_part(block, kind, at))
    return [*results, *_spoken(parts)]


def _spoken(parts: list[dict[str, Any]]) -> list[ChatMessage]:
    """What the user says; as a plain string where it is only text, for upstreams that know no parts."""
    if not parts:
        return []
    only_text = all(part["type"] == "text" for part in parts)
    return [{"role": "user", "content": _joined(parts) if only_text else parts}]


def _result(block: dict[str, Any], where: Where) -> list[dict[str, Any]]:
    """What a tool gave, as parts of a chat message."""
    content, inside = block.get("content"), (*where, "content")
    if block.get("is_error") is not None:
        fields.flag(block["is_error"], (*where, "is_error"))
    if content is None:
        return []
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    parts = []
    for number, found in enumerate(fields.items(content, inside, empty=True)):
        at = (*inside, number)
        inner = fields.mapping(found, at)
        parts.append(_part(inner, fields.word(inner.get("type"), (*at, "type"), "text", "image"), at))
    return parts


def _part(block: dict[str, Any], kind: str, where: Where) -> dict[str, Any]:
    if kind == "text":
        return {"type": "text", "text": fields.text(block.get("text"), (*where, "text"))}
    return {"type": "image_url", "image_url": {"url": _image(block.get("source"), (*where, "source"))}}


def _image(found: Any, where: Where) -> str:
    """An image's address: its own, or a data URL."""
    source = fields.mapping(found, where)
    if fields.word(source.get("type"), (*where, "type"), "base64", "url") == "base64":
        kind = fields.word(source.get("media_type"), (*where, "media_type"), *IMAGES)
        return f"data:{kind};base64,{fields.text(source.get('data'), (*where, 'data'))}"
    url = fields.text(source.get("url"), (*where, "url"))
    if not url.startswith(("https://", "http://")):
        raise invalid((*where, "url"), "must be an http or https address")
    return url


def _assistant(blocks: list[Any], where: Where) -> ChatMessage:
    texts: list[dict[str, Any]] = []
    calls: list[dict[str, Any]] = []
    for number, found in enumerate(blocks):
        at = (*where, number)
        block = fields.mapping(found, at)
        kind = fields.word(block.get("type"), (*at, "type"), "text", "tool_use", *sorted(UNSPOKEN))
        if kind == "text":
            texts.append(_part(block, kind, at))
        elif kind == "tool_use":
            calls.append(_call(block, at))
    message: ChatMessage = {"role": "assistant", "content": _joined(texts) if texts or not calls else None}
    return message | ({"tool_calls": calls} if calls else {})


def _call(block: dict[str, Any], where: Where) -> dict[str, Any]:
    name = fields.text(block.get("name"), (*where, "name"))
    arguments = json.dumps(fields.mapping(block.get("input"), (*where, "input")), ensure_ascii=False)
    call_id = fields.text(block.get("id"), (*where, "id"))
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def _texts(blocks: list[Any], where: Where) -> str:
    """Blocks that may only be text."""
    parts = []
    for number, found in enumerate(blocks):
        at = (*where, number)
        block = fields.mapping(found, at)
        parts.append(_part(block, fields.word(block.get("type"), (*at, "type"), "text"), at))
    return _joined(parts)


def _joined(parts: list[dict[str, Any]]) -> str:
    return "\n".join(part["text"] for part in parts if part["type"] == "text")
