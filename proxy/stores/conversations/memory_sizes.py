"""The store in memory: how many messages fit in a window, and what can be told of one without all of it."""

from collections.abc import Sequence

from proxy.core.conversation import Message, MessageStatus
from proxy.stores.conversations.port import Outline, Window
from proxy.stores.conversations.rows import from_json, to_json


def fitting(part: Sequence[Message], window: Window, most_bytes: int) -> list[Message]:
    """Those that are in `most_bytes` together, counted from the window's own end; the first one in any case."""
    backwards = window.before is not None and window.after is None
    used, fit = 0, list[Message]()
    for message in reversed(part) if backwards else part:
        used += len(message.text.encode()) + len(to_json(message.content).encode())
        if fit and used > most_bytes:
            break
        fit.append(message)
    return fit[::-1] if backwards else fit


def outline_of(message: Message, mark: str) -> Outline:
    """What a message's outline is."""
    content = message.content
    return Outline(
        id=message.id,
        role=message.role,
        status=message.status,
        created_at=message.created_at,
        is_nothing=message.status is MessageStatus.FAILED and not message.text,
        mark=from_json(to_json(content.get(mark))) if isinstance(content, dict) else None,
    )
