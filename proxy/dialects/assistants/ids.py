"""The dialect's name, and the API's ids: a prefix and 32 hex digits."""

from typing import Final

from proxy.core.ids import new_id

NAME: Final = "assistants"
ASSISTANT: Final = "asst_"
THREAD: Final = "thread_"
MESSAGE: Final = "msg_"
RUN: Final = "run_"
STEP: Final = "step_"
CALL: Final = "call_"


def fresh(prefix: str) -> str:
    """A new id."""
    return prefix + new_id().replace("-", "")
