"""Items of the Responses API as the messages of an upstream's chat. Source: OpenAI's API reference, both APIs."""

from collections.abc import Sequence
from typing import Any, Final

_ROLES: Final = {"developer": "system"}
"""Words for roles that not every server of chat completions knows."""


def chat_messages(instructions: str | None, items: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The chat: instructions first, then the items in order; calls of one turn are one message, as servers want it."""
    found: list[dict[str, Any]] = [] if instructions is None else [{"role": "system", "content": instructions}]
    for item in items:
        match item["type"]:
            case "message":
                found.append(_message(item))
            case "function_call":
                _add_call(found, item)
            case "function_call_output":
                found.append({"role": "tool", "tool_call_id": item["call_id"], "content": _plain(item["output"])})
    return found


def _message(item: dict[str, Any]) -> dict[str, Any]:
    role, parts = item["role"], item["content"]
    if any(part["type"] == "input_image" for part in parts):
        return {"role": role, "content": [_part(part) for part in parts]}
    text = "".join(part.get("text", "") or part.get("refusal", "") for part in parts)
    return {"role": _ROLES.get(role, role), "content": text}


def _part(part: dict[str, Any]) -> dict[str, Any]:
    if part["type"] != "input_image":
        return {"type": "text", "text": part["text"]}
    image = {"url": part["image_url"]}
    if part["detail"] != "auto":
        image["detail"] = part["detail"]
    return {"type": "image_url", "image_url": image}


def _add_call(found: list[dict[str, Any]], item: dict[str, Any]) -> None:
    function = {"name": item["name"], "arguments": item["arguments"]}
    call = {"id": item["call_id"], "type": "function", "function": function}
    if found and found[-1]["role"] == "assistant":
        found[-1].setdefault("tool_calls", []).append(call)
        found[-1]["content"] = found[-1]["content"] or None
    else:
        found.append({"role": "assistant", "content": None, "tool_calls": [call]})


def _plain(output: Any) -> str:
    return output if isinstance(output, str) else "".join(part["text"] for part in output)
