"""The texts of messages in progress, on their way to the disk piece by piece.

Of each message one piece at a time is with the writer; what comes meanwhile, or is refused, is the next piece. So there
are never more pieces queued than messages in progress, and what is on disk is always a prefix.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from proxy.core.conversation import Message, MessageStatus
from proxy.stores.conversations.port import Owner
from proxy.stores.conversations.rows import optional
from proxy.stores.conversations.sql import Act
from proxy.stores.conversations.statements import PIECE
from proxy.stores.ledger.port import LedgerUnavailableError
from proxy.stores.ledger.rows import clean

_Key: TypeAlias = tuple[str, str, str]


@dataclass(slots=True)
class _Text:
    """A message's text: how many characters the writer took, and what waits behind them."""

    uid: str
    user: str | None
    thread_id: str | None
    offset: int = 0
    waiting: list[str] = field(default_factory=list)
    writing: bool = False
    over: bool = False


class Texts:
    """What is known of the messages in progress. `queue` hands a statement to the writer, or refuses it."""

    def __init__(self, queue: Callable[[Act], "asyncio.Future[int]"]) -> None:
        self._queue = queue
        self._texts: dict[_Key, _Text] = {}

    def __len__(self) -> int:
        return len(self._texts)

    def begin(self, message: Message, uid: str) -> None:
        """Take pieces for this message from now on, unless it is over or its id belongs to another one."""
        if message.status is MessageStatus.IN_PROGRESS:
            text = _Text(uid, optional(message.user), optional(message.thread_id))
            self._texts.setdefault(_key(message.identity, message.dialect, message.id), text)

    def append(self, owner: Owner, message_id: str, text: str) -> None:
        """Take the next piece; ignored unless such a message was begun here and is in progress."""
        found = self._texts.get(_key(owner.identity, owner.dialect, message_id))
        if found is None or not text or not _is_of(found, owner):
            return
        found.waiting.append(clean(text))
        self._write(found)

    def forget(self, owner: Owner, message_id: str) -> None:
        """Take nothing more for this message, and drop what waits."""
        key = _key(owner.identity, owner.dialect, message_id)
        found = self._texts.get(key)
        if found is not None and _is_of(found, owner):
            self._drop(key)

    def forget_thread(self, owner: Owner, thread_id: str) -> None:
        """The same for all messages of a thread."""
        of = (clean(owner.identity), clean(owner.dialect))
        wanted = clean(thread_id)
        for key in [key for key, text in self._texts.items() if key[:2] == of and text.thread_id == wanted]:
            self._drop(key)

    def forget_uids(self, uids: set[str]) -> None:
        """The same for messages that did not come to be."""
        for key in [key for key, text in self._texts.items() if text.uid in uids]:
            self._drop(key)

    def _drop(self, key: _Key) -> None:
        text = self._texts.pop(key)
        text.over = True
        text.waiting.clear()

    def _write(self, text: _Text) -> None:
        if text.writing or text.over or not text.waiting:
            return
        piece = "".join(text.waiting)
        try:
            queued = self._queue((PIECE, {"message": text.uid, "offset": text.offset, "piece": piece}))
        except LedgerUnavailableError:
            text.waiting = [piece]
            return
        text.writing = True
        text.offset += len(piece)
        text.waiting = []
        queued.add_done_callback(lambda _: self._written(text))

    def _written(self, text: _Text) -> None:
        text.writing = False
        self._write(text)


def _key(identity: str, dialect: str, message_id: str) -> _Key:
    return clean(identity), clean(dialect), clean(message_id)


def _is_of(text: _Text, owner: Owner) -> bool:
    return owner.user is None or text.user == clean(owner.user)
