"""The functions that a request offers the model, and how it is to choose. Source: OpenAI's API reference.

Tools that OpenAI's servers run themselves (web search, files, code, MCP, …) can't be had here and are refused.
"""

import re
from typing import Any, Final

from proxy.dialects.responses import fields

MOST_TOOLS: Final = 128
MOST_DESCRIPTION: Final = 1 << 16
_NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}")


def read_tools(found: Any) -> list[dict[str, Any]]:
    """The tools, as a response shows them."""
    if found is None:
        return []
    return [_tool(tool, f"tools[{number}]") for number, tool in enumerate(fields.items(found, "tools", MOST_TOOLS))]


def _tool(found: Any, at: str) -> dict[str, Any]:
    tool = fields.mapping(found, at)
    if tool.get("type") != "function":
        if isinstance(tool.get("type"), str):
            raise fields.not_served(f"{at}.type", "only tools of the type function")
        raise fields.wrong(f"{at}.type", "function")
    name = tool.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise fields.wrong(f"{at}.name", "1 to 64 letters, digits, _ or -")
    parameters, strict, description = (tool.get(key) for key in ("parameters", "strict", "description"))
    shown: dict[str, Any] = {
        "type": "function",
        "name": name,
        "parameters": None if parameters is None else fields.mapping(parameters, f"{at}.parameters"),
        "strict": None if strict is None else fields.flag(strict, f"{at}.strict"),
        "description": None,
    }
    if description is not None:
        shown["description"] = fields.text(description, f"{at}.description", MOST_DESCRIPTION, empty=True)
    return shown


def read_choice(found: Any, tools: list[dict[str, Any]]) -> str | dict[str, Any]:
    """How to choose, as a response shows it."""
    if found is None:
        return "auto"
    if isinstance(found, str):
        word = fields.word(found, "tool_choice", "none", "auto", "required")
        if word == "required" and not tools:
            raise fields.wrong("tool_choice", "tools, where a call of one is required")
        return word
    choice = fields.mapping(found, "tool_choice")
    if choice.get("type") != "function":
        raise fields.not_served("tool_choice.type", "only function, or none, auto, required")
    name = choice.get("name")
    if name not in [tool["name"] for tool in tools]:
        raise fields.wrong("tool_choice.name", "the name of one of the tools")
    return {"type": "function", "name": name}


def chat_tools(tools: list[dict[str, Any]], choice: str | dict[str, Any], parallel: bool | None) -> dict[str, Any]:
    """The fields of the upstream's request; none without tools."""
    if not tools:
        return {}
    functions = [
        {key: tool[key] for key in ("name", "description", "parameters", "strict") if tool[key] is not None}
        for tool in tools
    ]
    asked = choice if isinstance(choice, str) else {"type": "function", "function": {"name": choice["name"]}}
    return {
        "tools": [{"type": "function", "function": function} for function in functions],
        "tool_choice": None if asked == "auto" else asked,
        "parallel_tool_calls": parallel,
    }
