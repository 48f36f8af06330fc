"""What a model writes when it calls a tool, in the items and events of OpenAI's Responses API.

Calls are written by the model, be it the client, the provider or an MCP server that runs them: they are completion
tokens. What the tools give back is none: logs, search results, an MCP server's output, a shell's output, pictures.
Source: the types of OpenAI's Python package.
"""

import json
from typing import Any, Final

DELTAS: Final = {
    "response.function_call_arguments.delta": "delta",
    "response.custom_tool_call_input.delta": "delta",
    "response.mcp_call_arguments.delta": "delta",
    "response.code_interpreter_call_code.delta": "delta",
    "response.shell_call_command.added": "command",
    "response.shell_call_command.delta": "delta",
}
"""The events with which a call grows, and the field that has what is new."""

SHOWN: Final = {
    "function_call": "arguments",
    "custom_tool_call": "input",
    "mcp_call": "arguments",
    "code_interpreter_call": "code",
}
"""The items that grow by deltas, and the field that shows what has come."""

_WRITTEN: Final[dict[str, tuple[str, ...]]] = {
    "function_call": ("arguments",),
    "custom_tool_call": ("input",),
    "mcp_call": ("arguments",),
    "mcp_approval_request": ("arguments",),
    "tool_search_call": ("arguments",),
    "code_interpreter_call": ("code",),
    "program": ("code",),
    "shell_call": ("action.commands",),
    "local_shell_call": ("action.command",),
    "apply_patch_call": ("operation",),
    "computer_call": ("actions", "action"),
    "web_search_call": ("action.queries", "action.query", "action.pattern", "action.url"),
    "file_search_call": ("queries",),
    "image_generation_call": ("revised_prompt",),
}
"""Each kind of call with the fields that the model fills in; the first that has something is what it wrote."""


def is_call(item: dict[str, Any]) -> bool:
    """Whether an item is a call of a tool."""
    kind = item.get("type")
    return isinstance(kind, str) and kind in _WRITTEN


def written(item: dict[str, Any]) -> str:
    """What the model wrote in a call, as far as the item has it: texts as they are, anything else as JSON."""
    for path in _WRITTEN.get(item["type"], ()):
        found: object = item
        for name in path.split("."):
            found = found.get(name) if isinstance(found, dict) else None
        if found:
            return _as_text(found)
    return ""


def _as_text(found: object) -> str:
    if isinstance(found, str):
        return found
    if isinstance(found, list) and all(isinstance(each, str) for each in found):
        return "\n".join(found)
    return json.dumps(found, separators=(",", ":"), ensure_ascii=False)
