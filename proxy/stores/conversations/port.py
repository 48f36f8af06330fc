"""The port of the conversation store: threads, messages and items of the translated dialects."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol

from proxy.core.conversation import Item, Message, MessageStatus, Thread
from proxy.stores.conversations.holds import Holds

CONVERSATIONS_KEEP: Final = 30 * 86400.0
"""Seconds after its last change that a thread stays, unless the settings say otherwise."""

ASYNC_KEEP: Final = 3600.0
"""Seconds after its end that a message without a thread stays, unless the settings say otherwise."""


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose threads, messages or items are meant. `user` None: of any end user of that caller; items have none."""

    identity: str
    dialect: str
    user: str | None = None


@dataclass(frozen=True, slots=True)
class Window:
    """Which part of a list: at most `limit`, behind the object `after` and before the object `before`, both by id.

    Of what there is between the two the first `limit` are meant; with `before` alone the last, which are next to it.
    There are more if the limit left some out.

    `most_bytes`, for messages alone: only as many of these, from where the limit counts, as fit in it with text and
    content (as UTF-8; what has come of a message in progress does not count), but one in any case. The others are
    never fetched.
    """

    limit: int = 20
    order: Literal["newest", "oldest"] = "newest"
    after: str | None = None
    before: str | None = None
    most_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Outline:
    """What can be told of a message without reading all of it.

    `is_nothing`: it failed without any text. `mark`: one value of its content, as asked for.
    """

    id: str
    role: str
    status: MessageStatus
    created_at: float
    is_nothing: bool
    mark: Any


@dataclass(frozen=True, slots=True)
class PutIn:
    """What of a call went in. `added` are the items that were not there before.

    `error`: why the rest is not in; without one, something else has one of the ids, or a thread is not there.
    """

    is_whole: bool = False
    has_thread: bool = False
    has_messages: bool = False
    added: Sequence[Item] = ()
    error: BaseException | None = None


class Conversations(Protocol):
    """Threads, messages and items. Somebody else's look like unknown ones. A write that returned is on disk.

    Items belong to a caller in a dialect: `Owner.user` is not looked at where they are put in, asked for or changed.
    Whatever deletes an item, deletes those whose parent it is too, open or not; not what is below those.

    Every method that waits may raise `LedgerUnavailableError`: the store can't be read or written now.
    """

    @property
    def holds(self) -> Holds | None:
        """Who works on what, where replicas share the store; None: it is this process's alone."""
        ...

    async def put_in(self, thread: Thread | None, messages: Sequence[Message], items: Sequence[Item]) -> PutIn:
        """Put in what one call brings along, in this order; items that are there are changed. All of it, if it can be.

        What is in although not all of it is, is the caller's to delete.
        """
        ...

    async def add_thread(self, thread: Thread) -> bool:
        """Put a thread in; False when its owner has one with this id in this dialect."""
        ...

    async def find_thread(self, owner: Owner, thread_id: str) -> Thread | None:
        """The thread with this id."""
        ...

    async def threads(self, owner: Owner, window: Window) -> tuple[list[Thread], bool]:
        """A part of the owner's threads by their last change, and whether there are more behind it.

        Raises:
            KeyError: `window.after` or `window.before` is no thread of the owner's.
        """
        ...

    async def update_thread(
        self,
        owner: Owner,
        thread_id: str,
        *,
        updated_at: float,
        name: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> bool:
        """Change what is given; False when there is no such thread."""
        ...

    async def delete_thread(self, owner: Owner, thread_id: str) -> list[str] | None:
        """Delete a thread with its messages and items; gives the `generation` of each message. None: no such thread.

        In the same transaction the records of these generations lose their text.
        """
        ...

    async def add_messages(self, *messages: Message) -> bool:
        """Put messages in, in this order, all or none; False when one of the ids is taken, or a thread is not there."""
        ...

    def append(self, owner: Owner, message_id: str, text: str) -> None:
        """Queue the next piece of the text of a message in progress. Never waits, never raises.

        What the disk does not take now goes with a later piece, so what is on disk is always a prefix.
        """
        ...

    async def end_message(
        self,
        owner: Owner,
        message_id: str,
        status: MessageStatus,
        *,
        ended_at: float,
        text: str,
        content: Any = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> bool:
        """End a message in progress, with its whole text; False when it is not (or no longer) in progress.

        Its thread's `updated_at` becomes `ended_at`. `metadata` None leaves it as it is.
        """
        ...

    async def find_message(self, owner: Owner, message_id: str) -> Message | None:
        """The message with this id."""
        ...

    async def messages(self, owner: Owner, thread_id: str, window: Window) -> tuple[list[Message], bool]:
        """A part of a thread's messages in the order in which they were put in, and whether there are more behind it.

        Raises:
            KeyError: `window.after` or `window.before` is no message of the thread.
        """
        ...

    async def outline(self, owner: Owner, thread_id: str, most: int, mark: str = "") -> tuple[list[Outline], bool]:
        """The newest `most` messages of a thread in the order in which they were put in, and whether there are older.

        However long they are, little is read of them: of `content`, where it is an object, what it has under `mark`.
        """
        ...

    async def update_message(self, owner: Owner, message_id: str, *, metadata: Mapping[str, Any]) -> bool:
        """Replace a message's metadata; False when there is no such message."""
        ...

    async def delete_messages(self, owner: Owner, *message_ids: str) -> list[str]:
        """Delete messages, in progress or not; gives the `generation` of those that were there and had one.

        In the same transaction the records of these generations lose their text.
        """
        ...

    async def add_items(self, *items: Item) -> bool:
        """Put items in, in this order, all or none; False when one of the ids is taken, or one's thread isn't there."""
        ...

    async def find_item(self, owner: Owner, kind: str, item_id: str) -> Item | None:
        """The item of that kind with this id."""
        ...

    async def items(self, owner: Owner, kind: str, parent: str | None, window: Window) -> tuple[list[Item], bool]:
        """A part of the items of one kind and parent in the order in which they were put in; more behind it?

        Raises:
            KeyError: `window.after` or `window.before` is none of them.
        """
        ...

    async def update_item(
        self,
        owner: Owner,
        kind: str,
        item_id: str,
        body: Mapping[str, Any],
        *,
        is_open: bool,
        expires_at: float | None = None,
    ) -> bool:
        """Replace what is known of an item, `is_interrupted` too (it is False then); False when there is none.

        Its place in lists stays.
        """
        ...

    async def delete_items(self, owner: Owner, kind: str, *item_ids: str) -> int:
        """Delete items, open or not, and those whose parent they are; gives how many of the named were there."""
        ...

    async def purge(self, now: float) -> tuple[int, int]:
        """Delete what retention has passed; gives (threads, messages without a thread).

        Items go with their thread, or when they expire. A thread in which a message is in progress or an item open
        stays, and so does an open item.
        """
        ...
