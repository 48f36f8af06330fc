"""A message's content: as requests have it, as it is kept and shown, and as the model reads it.

`content` of a kept message: `parts`, what its plain text does not say; and of a run's answer `run_id`, `assistant_id`,
and the `reason` for which it is incomplete.
"""

from collections.abc import Mapping
from typing import Any, Final

from proxy.core.conversation import Message, MessageStatus
from proxy.core.partial import safe_text
from proxy.dialects.assistants.fields import Fields
from proxy.dialects.assistants.ids import MESSAGE, NAME, fresh
from proxy.dialects.assistants.tools import NO_FILES

ROLES: Final = ("user", "assistant")
DETAILS: Final = ("auto", "low", "high")
MAX_PARTS: Final = 1000
MAX_TEXT: Final = 20 * 2**20
"""Characters; the limit of the whole body is what bounds it."""
URLS: Final = ("https://", "http://", "data:image/")
FAILED: Final = "run_failed"


def read_message(fields: Fields, identity: str, thread_id: str, now: float) -> Message:
    """A message that a request brings."""
    role = fields.one_of("role", ROLES)
    if role is None:
        raise fields.wrong("role", f"one of: {', '.join(ROLES)}")
    fields.refuse_any("attachments", NO_FILES)
    text, parts = _read_content(fields)
    return Message(
        id=fresh(MESSAGE),
        identity=identity,
        dialect=NAME,
        role=role,
        created_at=now,
        thread_id=thread_id,
        ended_at=now,
        text=text,
        content=None if parts is None else {"parts": parts},
        metadata=fields.metadata() or {},
    )


def _read_content(fields: Fields) -> tuple[str, list[dict[str, Any]] | None]:
    """The plain text; and the parts where they say more than one text."""
    found = fields.found.get("content")
    if isinstance(found, str):
        text = safe_text(found)
        if not text:
            raise fields.wrong("content", "text that is not empty")
        return text, None
    items = fields.objects("content", MAX_PARTS) if isinstance(found, list) else None
    if not items:
        raise fields.wrong("content", "a string, or an array of parts, that is not empty")
    parts = [_read_part(item) for item in items]
    text = "".join(part["text"]["value"] for part in parts if part["type"] == "text")
    return text, (None if len(parts) == 1 and parts[0]["type"] == "text" else parts)


def _read_part(item: Fields) -> dict[str, Any]:
    kind = item.found.get("type")
    if kind == "text":
        text = item.string("text", MAX_TEXT)
        if text is None:
            raise item.wrong("text", "a string")
        return text_part(text)
    own = item.object("image_url") if kind == "image_url" else None
    if own is None:
        why = f": {NO_FILES}" if kind == "image_file" else ""
        raise item.wrong("type", f"text or image_url, with what it names{why}")
    url = own.needed("url", MAX_TEXT)
    if not url.startswith(URLS):
        raise own.wrong("url", f"an address that begins with one of: {', '.join(URLS)}")
    return {"type": "image_url", "image_url": {"url": url, "detail": own.one_of("detail", DETAILS) or "auto"}}


def text_part(text: str) -> dict[str, Any]:
    """A part of text, as it is shown."""
    return {"type": "text", "text": {"value": text, "annotations": []}}


def details(message: Message) -> Mapping[str, Any]:
    """What is kept beside a message's text."""
    return message.content if isinstance(message.content, dict) else {}


def is_shown(message: Message) -> bool:
    """Whether a message is there for clients: an answer is from its first text on."""
    return bool(message.text) or "run_id" not in details(message)


def shown(message: Message) -> dict[str, Any]:
    """A message as the API shows it."""
    kept = details(message)
    reason = kept.get("reason")
    if message.status in (MessageStatus.FAILED, MessageStatus.INTERRUPTED):
        reason = reason or FAILED
    ended = None if message.ended_at is None else int(message.ended_at)
    status = "completed"
    if message.status is MessageStatus.IN_PROGRESS:
        status, ended, reason = "in_progress", None, None
    elif reason is not None:
        status = "incomplete"
    parts = kept.get("parts")
    return {
        "id": message.id,
        "object": "thread.message",
        "created_at": int(message.created_at),
        "thread_id": message.thread_id,
        "status": status,
        "incomplete_details": None if reason is None else {"reason": reason},
        "completed_at": ended if status == "completed" else None,
        "incomplete_at": (ended or int(message.created_at)) if status == "incomplete" else None,
        "role": message.role,
        "content": [text_part(message.text)] if parts is None and message.text else parts or [],
        "assistant_id": kept.get("assistant_id"),
        "run_id": kept.get("run_id"),
        "attachments": [],
        "metadata": dict(message.metadata),
    }


def chat_of(message: Message) -> dict[str, Any] | None:
    """A message as the upstream takes it; None: there is nothing in it."""
    parts = details(message).get("parts")
    if parts is None or message.role == "assistant":  # no upstream takes images in the words of the model
        return {"role": message.role, "content": message.text} if message.text else None
    chat = [{"type": "text", "text": part["text"]["value"]} if part["type"] == "text" else part for part in parts]
    return {"role": message.role, "content": chat}
