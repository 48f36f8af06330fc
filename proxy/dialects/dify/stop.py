"""The three stop routes. Their answer says nothing: success, whatever became of it."""

from typing import Final

from proxy.dialects.dify.fields import SUCCESS, body_of, user_of
from proxy.dialects.dify.generate import NAME
from proxy.engine.plain import PlainReply, PlainRequest
from proxy.engine.translating.desk import Desk

_PREFIXES: Final = ("/completion-messages/", "/chat-messages/", "/workflows/tasks/")


def stop_id(rest: str) -> str | None:
    """The task id in the path of a stop route; None: it is none."""
    for prefix in _PREFIXES:
        task_id, slash, verb = rest.removeprefix(prefix).partition("/")
        if rest.startswith(prefix) and slash and verb == "stop":
            return task_id
    return None


async def stop(task_id: str, request: PlainRequest, desk: Desk) -> PlainReply:
    """Stop a task of this end user's. One that is another's, unknown or over stays as it is.

    A stop that comes before its task is remembered for a short time, for this end user.
    """
    user = user_of(await body_of(request, desk))
    await desk.stop(task_id, dialect=NAME, user=user)
    return SUCCESS
