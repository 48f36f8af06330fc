"""A message as the conversation store has it: its stream said again, and its status. Source: PrivateGPT's reference.

What a live message has beyond that is asked of its translation.
"""

from typing import Any, Final

from proxy.core.conversation import Message, MessageStatus
from proxy.core.receipt import iso
from proxy.dialects.async_messages.events import Events, ending, failure
from proxy.dialects.async_messages.translation import MessageTranslation

STATUS: Final = {
    MessageStatus.COMPLETED: "completed",
    MessageStatus.CANCELLED: "cancelled",
    MessageStatus.FAILED: "error",
    MessageStatus.INTERRUPTED: "error",
}
WORDS: Final = "The server stopped while this message was being made. What there is of it was kept."
INTERRUPTED: Final[dict[str, Any]] = {
    "type": "api_error",
    "message": WORDS,
    "detail": {"code": "interrupted", "explanation": WORDS},
}


def said_again(message: Message) -> bytes:
    """The whole stream of a message that nobody works on, from its first event; each block in one delta."""
    events = Events(message.metadata["answer_id"], message.metadata["model"])
    said = events.start() + events.contents(_content(message))
    if message.status in (MessageStatus.COMPLETED, MessageStatus.CANCELLED):
        return said + ending(message.metadata["stop_reason"], message.metadata["usage"])
    return said + failure(_error(message), message.id)


def status_of(message: Message, live: MessageTranslation | None) -> dict[str, Any]:
    """The status object; `live` while this replica works on the message."""
    ended = message.ended_at
    if message.status is MessageStatus.IN_PROGRESS and live is not None:
        status, updated, error = "processing" if live.is_processing else "pending", live.changed, None
    elif message.status is MessageStatus.IN_PROGRESS:  # another replica works on it; its text comes once a flush
        status, updated, error = "processing" if message.text else "pending", ended, None
    else:
        status = STATUS.get(message.status, "error")
        updated, error = ended, _error(message)["message"] if status == "error" else None
    created = message.created_at
    return {
        "message_id": message.id,
        "status": status,
        "created_at": iso(created),
        "updated_at": iso(created if updated is None else updated),
        "completed_at": iso(ended),
        "error_message": error,
        "stream_type": "chat_completion",
        "metadata": {name: message.metadata[name] for name in ("message_count", "thinking_enabled")},
    }


def _content(message: Message) -> list[dict[str, Any]]:
    """The blocks; of an interrupted message only its text is there, in a block that was never closed."""
    if message.content is not None:
        content: list[dict[str, Any]] = message.content
        return content
    if not message.text:
        return []
    return [{"type": "text", "start": message.created_at, "stop": None, "said": message.text}]


def _error(message: Message) -> dict[str, Any]:
    error: dict[str, Any] = message.metadata.get("error", INTERRUPTED)
    return error
