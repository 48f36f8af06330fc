"""Between a thread, message or item and its row: what SQLite or JSON can't hold is made harmless here, at the border.

A row that the database refuses would hold up every other write in its transaction, see `ledger/rows`.
"""

import json
import math
from collections.abc import Mapping
from typing import Any, Final, TypeAlias

from proxy.core.conversation import Item, Message, MessageStatus, Thread
from proxy.stores.conversations.port import Owner
from proxy.stores.ledger.gather import Value
from proxy.stores.ledger.rows import clean

Values: TypeAlias = Mapping[str, Value]
"""The values of a statement, by the names of its parameters."""

_strict: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode
_lenient: Final = json.JSONEncoder(ensure_ascii=False).encode


def to_json(value: Any) -> str:
    """The value as JSON: NaN and infinities, which JSON doesn't have, as null, lone surrogates as U+FFFD.

    Raises:
        TypeError: the value is no JSON value.
        ValueError: it contains itself.
    """
    try:
        text = _strict(value)
    except ValueError:  # there is no number for it, or the value contains itself, which the next line refuses too
        text = _strict(json.loads(_lenient(value), parse_constant=lambda _: None))
    return clean(text)


def from_json(text: str) -> Any:
    """The value; the inverse of `to_json`."""
    return json.loads(text)


def a_time(seconds: float) -> float:
    """The time as the database takes it: what is no number counts as the beginning of time."""
    return float(seconds) if math.isfinite(seconds) else 0.0


def optional(text: str | None) -> str | None:
    """The text, clean, if there is one."""
    return None if text is None else clean(text)


def owned(owner: Owner, any_id: str) -> dict[str, Value]:
    """Which thread or message is meant."""
    return {
        "identity": clean(owner.identity),
        "dialect": clean(owner.dialect),
        "user": optional(owner.user),
        "id": clean(any_id),
    }


def named(owner: Owner, kind: str, item_id: str) -> dict[str, Value]:
    """Which item is meant: of any user of that caller."""
    return {
        "identity": clean(owner.identity),
        "dialect": clean(owner.dialect),
        "kind": clean(kind),
        "id": clean(item_id),
    }


def thread_values(thread: Thread, uid: str) -> Values:
    """The values of a thread's row."""
    return {
        "uid": uid,
        "identity": clean(thread.identity),
        "dialect": clean(thread.dialect),
        "id": clean(thread.id),
        "user": optional(thread.user),
        "created_at": a_time(thread.created_at),
        "updated_at": a_time(thread.updated_at),
        "name": clean(thread.name),
        "metadata": to_json(dict(thread.metadata)),
    }


def message_values(message: Message, uid: str) -> Values:
    """The values of a message's row."""
    return {
        "uid": uid,
        "identity": clean(message.identity),
        "dialect": clean(message.dialect),
        "id": clean(message.id),
        "thread_id": optional(message.thread_id),
        "user": optional(message.user),
        "role": clean(message.role),
        "created_at": a_time(message.created_at),
        "ended_at": None if message.ended_at is None else a_time(message.ended_at),
        "status": message.status.value,
        "generation": optional(message.generation),
        "metadata": to_json(dict(message.metadata)),
        "content": to_json(message.content),
        "text": clean(message.text),
    }


def item_values(item: Item, uid: str) -> Values:
    """The values of an item's row."""
    return {
        "uid": uid,
        **named(Owner(item.identity, item.dialect), item.kind, item.id),
        "thread_id": optional(item.thread_id),
        "parent": optional(item.parent),
        "created_at": a_time(item.created_at),
        "is_interrupted": int(item.is_interrupted),
        **item_state(item.body, is_open=item.is_open, expires_at=item.expires_at),
    }


def item_state(body: Mapping[str, Any], *, is_open: bool, expires_at: float | None) -> Values:
    """The values of what changes of an item. An expiry that is no number counts as none."""
    expires = None if expires_at is None or not math.isfinite(expires_at) else float(expires_at)
    return {"body": to_json(dict(body)), "is_open": int(is_open), "expires_at": expires}


def thread_of(row: Mapping[Any, Any]) -> Thread:
    """The thread of a row; the inverse of `thread_values`."""
    return Thread(
        id=row["id"],
        identity=row["identity"],
        dialect=row["dialect"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        user=row["user"],
        name=row["name"],
        metadata=from_json(row["metadata"]),
    )


def message_of(row: Mapping[Any, Any], pieces: str = "") -> Message:
    """The message of a row, with `pieces` behind its text; the inverse of `message_values`."""
    return Message(
        id=row["id"],
        identity=row["identity"],
        dialect=row["dialect"],
        role=row["role"],
        created_at=row["created_at"],
        status=MessageStatus(row["status"]),
        thread_id=row["thread_id"],
        user=row["user"],
        ended_at=row["ended_at"],
        text=row["text"] + pieces,
        content=from_json(row["content"]),
        generation=row["generation"],
        metadata=from_json(row["metadata"]),
    )


def item_of(row: Mapping[Any, Any]) -> Item:
    """The item of a row; the inverse of `item_values`."""
    return Item(
        id=row["id"],
        identity=row["identity"],
        dialect=row["dialect"],
        kind=row["kind"],
        created_at=row["created_at"],
        body=from_json(row["body"]),
        thread_id=row["thread_id"],
        parent=row["parent"],
        is_open=bool(row["is_open"]),
        is_interrupted=bool(row["is_interrupted"]),
        expires_at=row["expires_at"],
    )
