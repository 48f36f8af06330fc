"""Short ids for people: the whole id that a few first characters mean. The API itself takes whole ids only.

Only ids that Quell made are completed. One that a caller chose must be typed whole: `chat-4` may be over, and must
not become `chat-42`, which runs.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeVar

from proxy.cli.admin_client import AdminClient, CommandError, Exit

SHORTEST: Final = 4
"""Characters that are enough to mean an id, if no other one begins with them."""

RECENT: Final = 100
"""So many of the newest that are over are looked at, where nothing that lives is meant."""

_MADE: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_CALLERS_NAME_MESSAGES: Final = "async_messages"
"""The dialect whose callers may choose message ids too; those of the others are made here, in their own forms."""
_NAMED: Final = 10
_CUT: Final = "…"
_SHOWN: Final = 8

T = TypeVar("T")


def with_whole_id(client: AdminClient, typed: str, call: Callable[[str], T]) -> T:
    """What `call` gives for the id that was typed, or else for the only one that begins with it.

    Raises:
        CommandError: as `call` does; or several ids begin like that.
    """
    beginning = typed.removesuffix(_CUT)
    try:
        return call(typed)  # of one that was cut this is nobody's: what is left of it may be somebody else's
    except CommandError as error:
        if error.code is not Exit.NOT_FOUND or len(beginning) < SHORTEST:
            raise
        found = _meant(client, beginning)
        if found is None:
            raise
    return call(found)


def short_id(any_id: str) -> str:
    """An id where there is little room: of one that Quell made the first characters, which can be typed as they stand.

    One that a caller chose stays whole, since only so it means anything.
    """
    return f"{any_id[:_SHOWN]}{_CUT}" if _MADE.fullmatch(any_id) else any_id


def _meant(client: AdminClient, typed: str) -> str | None:
    """The message id of the only generation that is meant: of those that live, else of the newest that are over.

    Raises:
        CommandError: several are meant, or one that is not known now might be.
    """
    last: dict[str, Any] = {}
    live = _beginning(typed, client.pages({"state": "live"}, last.update))
    if not last.get("complete", True):
        raise CommandError("not all replicas answer now, and one may run what begins like this; type the whole id")
    found = live or _beginning(typed, client.get("/generations", {"state": "ended", "limit": str(RECENT)})["data"])
    if len(found) > 1:
        names = [f"  {shown}" for shown in list(found.values())[:_NAMED]]
        more = [f"  … and {len(found) - _NAMED} more"] if len(found) > _NAMED else []
        message = "\n".join([f"several ids begin with {typed}; type more of the one that is meant:", *names, *more])
        raise CommandError(message, Exit.NOT_FOUND)
    return next(iter(found), None)


def _beginning(typed: str, records: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Message ids of the generations that are meant, each with the id that begins like that."""
    found = {}
    for record in records:
        is_ours = record.get("dialect") != _CALLERS_NAME_MESSAGES
        for any_id, is_made in ((record["task_id"], False), (record["message_id"], is_ours)):
            if any_id.startswith(typed) and (is_made or _MADE.fullmatch(any_id)):
                found[record["message_id"]] = any_id
                break
    return found
