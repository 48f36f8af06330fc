"""The dialect's name, and the API's ids: a prefix and 32 hex digits."""

from typing import Final

from proxy.core.ids import new_id

NAME: Final = "aitronos"
THREAD: Final = "thrd_"
LONG_THREAD: Final = "thread_"
"""Some of the API's servers and documents say this; it means the same thread."""


def fresh(prefix: str) -> str:
    """A new id."""
    return prefix + new_id().replace("-", "")


def thread_key(thread_id: str) -> str:
    """A thread's id as it is kept."""
    return THREAD + thread_id.removeprefix(LONG_THREAD) if thread_id.startswith(LONG_THREAD) else thread_id
