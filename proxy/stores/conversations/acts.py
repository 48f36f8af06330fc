"""What a call of the conversation store comes to: statements with their values, and what takes it back."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from proxy.core.conversation import Item, Message, MessageStatus, Thread
from proxy.stores.conversations import deletions
from proxy.stores.conversations import items_statements as item_sql
from proxy.stores.conversations import statements as sql
from proxy.stores.conversations.port import Owner
from proxy.stores.conversations.rows import (
    a_time,
    item_state,
    item_values,
    message_values,
    named,
    optional,
    owned,
    thread_values,
    to_json,
)
from proxy.stores.conversations.sql import Act
from proxy.stores.ledger.rows import clean


@dataclass(frozen=True, slots=True)
class Adding:
    """Something that is put in, all or none. `uids` are of its rows, `undo` takes them out again."""

    acts: list[Act]
    undo: list[Act]
    uids: list[str]

    def is_in(self, rows: Sequence[int]) -> bool:
        """Whether all of it went in, by how many rows each statement changed: each that adds one gave its row."""
        return all(count == 1 for count in rows[: len(self.uids)])


def a_token(maker: str = "") -> str:
    """What tells one call from every other; with `maker`, also whose it is."""
    return f"{maker}{uuid.uuid4().hex}"


def adding_thread(thread: Thread, maker: str = "") -> Adding:
    """Put a thread in."""
    uid, token = a_token(maker), a_token(maker)
    known = {**owned(Owner(thread.identity, thread.dialect), thread.id), "uid": uid, "token": token}
    undo = [(deletions.NOTE_THREAD, known), *deletions.delete_noted(token), deletions.forget(token)]
    return Adding([(sql.ADD_THREAD, thread_values(thread, uid))], undo, [uid])


def adding_messages(messages: Sequence[Message], maker: str = "") -> Adding:
    """Put messages in."""
    uids = _uids(len(messages), maker)
    rows = [message_values(message, uid) for message, uid in zip(messages, uids, strict=True)]
    span = {"first": uids[0], "last": uids[-1]}
    acts: list[Act] = [(sql.ADD_MESSAGE, row) for row in rows]
    acts.append((sql.ALL_OR_NONE, {**span, "many": len(uids)}))
    return Adding(acts, [(each, span) for each in sql.TAKE_BACK], uids)


def adding_items(items: Sequence[Item], maker: str = "") -> Adding:
    """Put items in."""
    uids = _uids(len(items), maker)
    span = {"first": uids[0], "last": uids[-1]}
    acts: list[Act] = [(item_sql.ADD_ITEM, item_values(item, uid)) for item, uid in zip(items, uids, strict=True)]
    acts.append((item_sql.ALL_OR_NONE, {**span, "many": len(uids)}))
    return Adding(acts, [(item_sql.TAKE_BACK, span)], uids)


def are_distinct(messages: Sequence[Message]) -> bool:
    """Whether no id comes twice."""
    return len({(clean(each.identity), clean(each.dialect), clean(each.id)) for each in messages}) == len(messages)


def updating_thread(
    owner: Owner, thread_id: str, *, updated_at: float, name: str | None, metadata: Mapping[str, Any] | None
) -> Act:
    """Change a thread."""
    return sql.UPDATE_THREAD, {
        **owned(owner, thread_id),
        "updated_at": a_time(updated_at),
        "new_name": optional(name),
        "new_metadata": None if metadata is None else to_json(dict(metadata)),
    }


def updating_message(owner: Owner, message_id: str, metadata: Mapping[str, Any]) -> Act:
    """Change a message."""
    return sql.UPDATE_MESSAGE, {**owned(owner, message_id), "new_metadata": to_json(dict(metadata))}


def updating_item(
    owner: Owner, kind: str, item_id: str, body: Mapping[str, Any], *, is_open: bool, expires_at: float | None
) -> Act:
    """Change an item."""
    state = item_state(body, is_open=is_open, expires_at=expires_at)
    return item_sql.UPDATE_ITEM, {**named(owner, kind, item_id), **state}


def ending(
    owner: Owner,
    message_id: str,
    status: MessageStatus,
    *,
    ended_at: float,
    text: str,
    content: Any,
    metadata: Mapping[str, Any] | None,
) -> list[Act]:
    """End a message; `counted` tells from the numbers of rows whether that counts."""
    values = {
        **owned(owner, message_id),
        "token": a_token(),
        "status": status.value,
        "ended_at": a_time(ended_at),
        "text": clean(text),
        "content": to_json(content),
        "new_metadata": None if metadata is None else to_json(dict(metadata)),
    }
    return [(each, values) for each in sql.END]


def counted(rows: Sequence[int]) -> bool:
    """Whether an end counted."""
    return rows[1] == 1


def deleting_thread(owner: Owner, thread_id: str, token: str) -> list[Act]:
    """Delete a thread."""
    known = {**owned(owner, thread_id), "uid": None, "token": token}
    return [(deletions.NOTE_THREAD, known), *deletions.delete_noted(token, wipes=True)]


def deleting_messages(owner: Owner, message_ids: Sequence[str], token: str) -> list[Act]:
    """Delete messages."""
    notes: list[Act] = [(deletions.NOTE_MESSAGE, {**owned(owner, each), "token": token}) for each in message_ids]
    return [*notes, *deletions.delete_noted(token, wipes=True)]


def deleting_items(owner: Owner, kind: str, item_ids: Sequence[str], token: str) -> list[Act]:
    """Delete items."""
    notes: list[Act] = [(deletions.NOTE_ITEM, {**named(owner, kind, each), "token": token}) for each in item_ids]
    return [*notes, *deletions.delete_noted(token)]


def _uids(many: int, maker: str) -> list[str]:
    token = a_token(maker)
    return [f"{token}-{number:06}" for number in range(many)]
