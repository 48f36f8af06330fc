"""What an assistant and a run say in common of tools and of the answer's form. Source: OpenAI's API reference."""

import re
from collections.abc import Mapping
from typing import Any, Final

from proxy.dialects.assistants.fields import Fields

MAX_TOOLS: Final = 128
MAX_DESCRIPTION: Final = 100_000
EFFORTS: Final = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
HOSTED: Final = ("code_interpreter", "file_search")
NO_FILES: Final = "files, code_interpreter and file_search can't be had here"

_NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_MODEL: Final = re.compile(r"[^\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")


def read_model(fields: Fields) -> str | None:
    """The name of a model."""
    model = fields.string("model")
    if model and not _MODEL.fullmatch(model):
        raise fields.wrong("model", "a name without control characters")
    return model or None


def read_tools(fields: Fields) -> list[dict[str, Any]] | None:
    """The function tools; no others can be had."""
    items = fields.objects("tools", MAX_TOOLS)
    return None if items is None else [_tool(item) for item in items]


def _tool(item: Fields) -> dict[str, Any]:
    if item.found.get("type") in HOSTED:
        raise item.wrong("type", f"function: {item.found['type']} can't be had here")
    own = item.object("function")
    if item.found.get("type") != "function" or own is None:
        raise item.wrong("type", "function, with an object function")
    function = _function(own)
    parameters = own.object("parameters")
    if parameters is not None:
        function["parameters"] = dict(parameters.found)
    return {"type": "function", "function": function}


def _function(own: Fields) -> dict[str, Any]:
    """Name, description and strictness of a tool or of a JSON schema."""
    name = own.string("name")
    if name is None or not _NAME.fullmatch(name):
        raise own.wrong("name", "1 to 64 letters, digits, _ or -")
    more = {"description": own.string("description", MAX_DESCRIPTION), "strict": own.flag("strict")}
    return {"name": name} | {key: value for key, value in more.items() if value is not None}


def read_choice(fields: Fields) -> str | dict[str, Any] | None:
    """`tool_choice`: which tools the model may call."""
    found = fields.found.get("tool_choice")
    if found is None or found in ("none", "auto", "required"):
        return found
    own = fields.object("tool_choice") if isinstance(found, dict) else None
    function = None if own is None else own.object("function")
    if own is None or own.found.get("type") != "function" or function is None:
        raise fields.wrong("tool_choice", "none, auto, required, or an object with type function and the function")
    return {"type": "function", "function": {"name": function.needed("name", 64)}}


def read_format(fields: Fields) -> str | dict[str, Any] | None:
    """`response_format`: the form of the answer."""
    found = fields.found.get("response_format")
    if found is None or found == "auto":
        return None if found is None else "auto"
    own = fields.object("response_format") if isinstance(found, dict) else None
    kind = None if own is None else own.found.get("type")
    if own is not None and kind in ("text", "json_object"):
        return {"type": kind}
    schema = own.object("json_schema") if own is not None and kind == "json_schema" else None
    if schema is None:
        raise fields.wrong("response_format", "auto, or an object with type text, json_object, or json_schema")
    inner = schema.object("schema")
    form = _function(schema)
    if inner is not None:
        form["schema"] = dict(inner.found)
    return {"type": "json_schema", "json_schema": form}


def shown_sampling(found: Mapping[str, Any]) -> dict[str, float]:
    """The same as shown: what nobody has said is 1, and is left to the upstream."""
    return {name: 1.0 if found[name] is None else found[name] for name in ("temperature", "top_p")}


def read_sampling(fields: Fields) -> dict[str, float | None]:
    """`temperature` and `top_p`."""
    return {"temperature": fields.number("temperature", 2), "top_p": fields.number("top_p", 1)}
