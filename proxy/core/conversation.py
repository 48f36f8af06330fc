"""Threads, messages and other items: what a translated dialect keeps between calls, and how a message may change.

Times are seconds since the epoch. `metadata`, `content` and `body` are JSON values of the dialect's own
meaning.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class MessageStatus(StrEnum):
    """Where a message is; every status but the first is terminal."""

    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    """The process died while the message was made; its text is what had been written."""


@dataclass(frozen=True, slots=True)
class Thread:
    """A conversation. `identity` is its owner's full name, `user` the end user within it, `id` unique per owner."""

    id: str
    identity: str
    dialect: str
    created_at: float
    updated_at: float
    user: str | None = None
    name: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Message:
    """One message, of a thread or by itself.

    `id` is unique among its owner's messages of one dialect. `text` is its plain text, while it is in progress as far
    as it is written; `content` its structured form, for dialects that have one. `generation` is the `uid` of the
    record of the model call that made it.
    """

    id: str
    identity: str
    dialect: str
    role: str
    created_at: float
    status: MessageStatus = MessageStatus.COMPLETED
    thread_id: str | None = None
    user: str | None = None
    ended_at: float | None = None
    text: str = ""
    content: Any = None
    generation: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Item:
    """Anything else that a dialect keeps and lists: an assistant, a run, a step of a run, a response.

    `id` is unique among its owner's items of one dialect and kind. `parent` is the id of what it is listed below (a
    step's run), `thread_id` the thread with which it goes away. `is_open`: something works on it, so that one which a
    process that died left open says `is_interrupted`. `expires_at`: when it is purged, unless it is open; None: with
    its thread or parent, or never.
    """

    id: str
    identity: str
    dialect: str
    kind: str
    created_at: float
    body: Mapping[str, Any]
    thread_id: str | None = None
    parent: str | None = None
    is_open: bool = False
    is_interrupted: bool = False
    expires_at: float | None = None
