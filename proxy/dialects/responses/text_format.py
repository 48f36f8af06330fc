"""The form of a response's text: plain, any JSON, or JSON by a schema. Source: OpenAI's API reference."""

import re
from typing import Any, Final

from proxy.dialects.responses import fields

MOST_DESCRIPTION: Final = 1 << 16
_NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}")


def read_text(found: Any) -> dict[str, Any]:
    """The request's `text`, as a response shows it."""
    text = {} if found is None else fields.mapping(found, "text")
    shown: dict[str, Any] = {"format": _format(text.get("format"))}
    if text.get("verbosity") is not None:
        shown["verbosity"] = fields.word(text["verbosity"], "text.verbosity", "low", "medium", "high")
    return shown


def _format(found: Any) -> dict[str, Any]:
    if found is None:
        return {"type": "text"}
    wanted = fields.mapping(found, "text.format")
    kind = fields.word(wanted.get("type"), "text.format.type", "text", "json_object", "json_schema")
    if kind != "json_schema":
        return {"type": kind}
    name, strict, description = (wanted.get(key) for key in ("name", "strict", "description"))
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise fields.wrong("text.format.name", "1 to 64 letters, digits, _ or -")
    shown: dict[str, Any] = {
        "type": kind,
        "name": name,
        "schema": fields.mapping(wanted.get("schema"), "text.format.schema"),
    }
    if strict is not None:
        shown["strict"] = fields.flag(strict, "text.format.strict")
    if description is not None:
        shown["description"] = fields.text(description, "text.format.description", MOST_DESCRIPTION, empty=True)
    return shown


def chat_format(shown: dict[str, Any]) -> dict[str, Any] | None:
    """The upstream's `response_format`; None: nothing is asked."""
    if shown["type"] == "text":
        return None
    if shown["type"] == "json_object":
        return {"type": "json_object"}
    schema = {name: value for name, value in shown.items() if name != "type"}
    return {"type": "json_schema", "json_schema": schema}
