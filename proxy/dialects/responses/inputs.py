"""Reading a request's `input`: each entry becomes an item as the API shows it; `chat.py` tells it to the upstream.

Source: OpenAI's API reference (Create a model response, `input`). Files, audio and references are refused by name.
"""

from dataclasses import dataclass
from typing import Any, Final

from proxy.core.errors import Refusal
from proxy.dialects.responses import fields
from proxy.dialects.responses.names import CALL, MESSAGE, OUTPUT, REASONING, fresh

MOST_ITEMS: Final = 1000
MOST_PARTS: Final = 1000
ROLES: Final = ("user", "assistant", "system", "developer")
KINDS: Final = ("message", "function_call", "function_call_output", "reasoning")
IMAGE_URLS: Final = ("https://", "http://", "data:image/")
DETAILS: Final = ("low", "high", "auto", "original")


@dataclass(frozen=True, slots=True)
class Item:
    """One entry: as it is listed, who says it, and its plain text."""

    shown: dict[str, Any]
    role: str
    text: str = ""

    @property
    def id(self) -> str:
        """Its id."""
        return str(self.shown["id"])

    @property
    def kind(self) -> str:
        """Its type."""
        return str(self.shown["type"])


def read_input(found: Any) -> list[Item]:
    """The items of a request.

    Raises:
        Refusal: 400, naming the first field that is missing, wrong, or can't be had here.
    """
    if found is None:
        raise fields.missing("input")
    if isinstance(found, str):
        return [_message("user", [{"type": "input_text", "text": found}], found)]
    if not isinstance(found, list):
        raise fields.wrong("input", "a string or an array of items", "invalid_type")
    entries = fields.items(found, "input", MOST_ITEMS)
    if not entries:
        raise fields.wrong("input", "at least one item")
    return [_item(entry, f"input[{number}]") for number, entry in enumerate(entries)]


def _item(entry: Any, at: str) -> Item:
    item = fields.mapping(entry, at)
    kind = item.get("type", "message")
    if kind == "item_reference":
        raise fields.not_served(f"{at}.type", "send the item itself, or previous_response_id")
    match fields.word(kind, f"{at}.type", *KINDS):
        case "function_call":
            return _call(item, at)
        case "function_call_output":
            return _result(item, at)
        case "reasoning":
            return Item({**_reasoning(item, at), "type": "reasoning"}, "assistant")
    role = fields.word(item.get("role"), f"{at}.role", *ROLES)
    content = item.get("content")
    if isinstance(content, str):
        kind = "output_text" if role == "assistant" else "input_text"
        parts = [_part({"type": kind, "text": content}, role, f"{at}.content")]
    else:
        listed = fields.items(content, f"{at}.content", MOST_PARTS)
        parts = [_part(part, role, f"{at}.content[{number}]") for number, part in enumerate(listed)]
    return _message(role, parts, "".join(part.get("text", "") or part.get("refusal", "") for part in parts))


def _message(role: str, parts: list[dict[str, Any]], text: str) -> Item:
    shown = {"id": fresh(MESSAGE), "type": "message", "status": "completed", "role": role, "content": parts}
    return Item(shown, role, text)


def _part(found: Any, role: str, at: str) -> dict[str, Any]:
    part = fields.mapping(found, at)
    allowed = ("output_text", "refusal") if role == "assistant" else ("input_text", "input_image")
    kind = part.get("type")
    if kind in ("input_file", "input_audio"):
        raise fields.not_served(f"{at}.type", "files and audio are not passed on")
    if role == "assistant" and kind == "input_text":  # what some clients send back
        kind = "output_text"
    match fields.word(kind, f"{at}.type", *allowed):
        case "input_text":
            return {"type": "input_text", "text": fields.text(part.get("text"), f"{at}.text", None, empty=True)}
        case "output_text":
            text = fields.text(part.get("text"), f"{at}.text", None, empty=True)
            return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
        case "refusal":
            return {"type": "refusal", "refusal": fields.text(part.get("refusal"), f"{at}.refusal", None, empty=True)}
    if role != "user":
        raise fields.wrong(at, "images in messages of the role user only")
    return _image(part, at)


def _image(part: dict[str, Any], at: str) -> dict[str, Any]:
    if part.get("file_id") is not None:
        raise fields.not_served(f"{at}.file_id", "there are no uploads; send image_url")
    url = fields.text(part.get("image_url"), f"{at}.image_url", None)
    if not url.startswith(IMAGE_URLS):
        raise fields.wrong(f"{at}.image_url", f"an address that begins with {', '.join(IMAGE_URLS)}")
    detail = part.get("detail")
    detail = "auto" if detail is None else fields.word(detail, f"{at}.detail", *DETAILS)
    return {"type": "input_image", "image_url": url, "detail": detail, "file_id": None}


def _call(item: dict[str, Any], at: str) -> Item:
    shown = {
        "id": fresh(CALL),
        "type": "function_call",
        "status": "completed",
        "call_id": fields.text(item.get("call_id"), f"{at}.call_id"),
        "name": fields.text(item.get("name"), f"{at}.name"),
        "arguments": fields.text(item.get("arguments"), f"{at}.arguments", None, empty=True),
    }
    return Item(shown, "assistant")


def _result(item: dict[str, Any], at: str) -> Item:
    output = item.get("output")
    if isinstance(output, list):
        parts = [_part(part, "tool", f"{at}.output[{number}]") for number, part in enumerate(output)]
        text, output = "".join(part["text"] for part in parts), parts
    else:
        text = output = fields.text(output, f"{at}.output", None, empty=True)
    shown = {
        "id": fresh(OUTPUT),
        "type": "function_call_output",
        "status": "completed",
        "call_id": fields.text(item.get("call_id"), f"{at}.call_id"),
        "output": output,
    }
    return Item(shown, "tool", text)


def _reasoning(item: dict[str, Any], at: str) -> dict[str, Any]:
    """Reasoning that a client sends back: it is listed, and not sent up, for chat completions have no place for it."""
    shown: dict[str, Any] = {"id": fresh(REASONING), "summary": _texts(item.get("summary"), "summary_text", at)}
    if item.get("content") is not None:
        shown["content"] = _texts(item["content"], "reasoning_text", at)
    return shown


def _texts(found: Any, kind: str, at: str) -> list[dict[str, Any]]:
    name = f"{at}.{'summary' if kind == 'summary_text' else 'content'}"
    shown = []
    for number, part in enumerate(fields.items(found, name, MOST_PARTS)):
        where = f"{name}[{number}]"
        fields.word(fields.mapping(part, where).get("type"), f"{where}.type", kind)
        shown.append({"type": kind, "text": fields.text(part.get("text"), f"{where}.text", None, empty=True)})
    return shown


def check_calls(items: list[dict[str, Any]], own: int) -> None:
    """Make sure that every call has its result and every result its call, in the whole conversation.

    Args:
        items: the conversation.
        own: how many of them, the last ones, are the request's own.

    Raises:
        Refusal: 400: an upstream would not take such a chat.
    """
    open_calls: set[str] = set()
    first = len(items) - own
    for number, item in enumerate(items):
        if item["type"] == "function_call":
            open_calls.add(item["call_id"])
        elif item["type"] == "function_call_output":
            if item["call_id"] not in open_calls:
                raise fields.wrong(f"input[{number - first}].call_id", "the call_id of a function call before it")
            open_calls.discard(item["call_id"])
        elif open_calls and item["type"] == "message":
            raise _no_result()
    if open_calls:
        raise _no_result()


def _no_result() -> Refusal:
    return fields.wrong("input", "a function_call_output for every function call before it, and no message between")
