"""Reading a request's `inputs`: each becomes a message of the upstream's chat, with its files as image parts.

Source: Aitronos' API documentation (input messages) and OpenAI's (messages of chat completions).
"""

import json
from dataclasses import dataclass
from typing import Any, Final

from proxy.dialects.aitronos.fields import Fields

ROLES: Final = ("user", "assistant", "system", "tool")
MAX_INPUTS: Final = 1000
MAX_BLOCKS: Final = 1000
MAX_FILES: Final = 10
MAX_TEXT: Final = 20 * 2**20
MAX_URL: Final = 20 * 2**20
"""An image may stand in its address, as `data:`; the limit of the whole body is what bounds it."""

URLS: Final = ("https://", "http://", "data:image/")
IMAGES: Final = ("image", "image_url", "input_image")
TEXTS: Final = ("text", "input_text", "output_text")
NO_UPLOADS: Final = "uploaded files can't be had here; send the file's address as url"


@dataclass(frozen=True, slots=True)
class Input:
    """One input: its plain text, and the upstream's message."""

    role: str
    text: str
    chat: dict[str, Any]
    tool_call_id: str | None = None


def read_inputs(fields: Fields) -> list[Input]:
    """The inputs; what is wrong with them is noted in `fields`."""
    items = fields.array("inputs", MAX_INPUTS)
    if not items and "inputs" not in fields.errors:
        fields.wrong("inputs", "expected an array with at least one input")
    found = [_read(fields, number, item) for number, item in enumerate(items)]
    return [each for each in found if each is not None]


def _read(fields: Fields, number: int, item: Any) -> Input | None:
    name = f"inputs.{number}"
    if not isinstance(item, dict):
        fields.wrong(name, "expected an object with role and content")
        return None
    own = fields.below(name, item)
    role = own.one_of("role", ROLES)
    if role is None:
        own.wrong("role", f"expected one of: {', '.join(ROLES)}")
        return None
    own.string("id")
    call_id = own.string("tool_call_id") if role == "tool" else None
    if role == "tool" and call_id is None:
        own.wrong("tool_call_id", "expected the id of the tool call that this is the result of")
    parts = [*_content(own), *_files(own)]
    text = "".join(part["text"] for part in parts if part["type"] == "text")
    if role != "user" and len(parts) != sum(part["type"] == "text" for part in parts):
        own.wrong("", "files and images belong to inputs of the role user")
    chat: dict[str, Any] = {"role": role, "content": parts if _has_images(parts) else text}
    if call_id is not None:
        chat["tool_call_id"] = call_id
    return Input(role, text, chat, call_id)


def _has_images(parts: list[dict[str, Any]]) -> bool:
    return any(part["type"] != "text" for part in parts)


def _content(own: Fields) -> list[dict[str, Any]]:
    content = own.found.get("content")
    match content:
        case str():
            return [_text(content)]
        case dict():  # the result of a tool
            return [_text(json.dumps(content, ensure_ascii=False))]
        case list():
            blocks = own.array("content", MAX_BLOCKS)
            return [part for number, block in enumerate(blocks) for part in _block(own, f"content.{number}", block)]
    own.wrong("content", "expected a string, an array of blocks, or an object")
    return []


def _block(own: Fields, name: str, block: Any) -> list[dict[str, Any]]:
    if not isinstance(block, dict):
        own.wrong(name, "expected an object with a type")
        return []
    fields = own.below(name, block)
    kind = block.get("type")
    if kind in TEXTS:
        text = fields.found.get("text")
        if isinstance(text, str):
            return [_text(text)]
        fields.wrong("text", "expected a string")
        return []
    if kind == "file":
        return _file(fields)
    if kind in IMAGES:
        return _image(fields)
    fields.wrong("type", f"expected one of: {', '.join((*TEXTS, 'file', *IMAGES))}")
    return []


def _files(own: Fields) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for number, item in enumerate(own.array("files", MAX_FILES)):
        if isinstance(item, dict):
            found += _file(own.below(f"files.{number}", item))
        else:
            own.wrong(f"files.{number}", "expected an object with url")
    return found


def _file(fields: Fields) -> list[dict[str, Any]]:
    if fields.found.get("file_id") is not None:
        fields.wrong("file_id", NO_UPLOADS)
        return []
    return _address(fields, "url", fields.found.get("url"))


def _image(fields: Fields) -> list[dict[str, Any]]:
    """An image, in any of the forms that the APIs of this kind know."""
    if fields.found.get("file_id") is not None:
        fields.wrong("file_id", NO_UPLOADS)
        return []
    for name in ("image_url", "url", "source"):
        value = fields.found.get(name)
        if value is not None:
            return _address(fields, name, value.get("url") if isinstance(value, dict) else value)
    fields.wrong("image_url", "expected the image's address")
    return []


def _address(fields: Fields, name: str, value: Any) -> list[dict[str, Any]]:
    if isinstance(value, str) and value.startswith(URLS) and len(value) <= MAX_URL:
        return [{"type": "image_url", "image_url": {"url": value}}]
    fields.wrong(name, "expected the address of an image: https, http or data:image/")
    return []


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}
