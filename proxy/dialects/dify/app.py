"""Dify's app API: which request is served by what.

Source: Dify's API documentation (completion, chat and workflow apps). A route serves all of its endpoints: what a Dify
server keeps apart by an app's mode is one app here.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Final

from proxy.core.errors import Refusal
from proxy.dialects.dify import about, conversations, errors, generate, messages, stop
from proxy.dialects.dify.operations import OPERATIONS
from proxy.engine.dialect import Endpoint, Serve
from proxy.engine.plain import PlainReply

_PATHS: Final[dict[str, tuple[str, Serve]]] = {
    "/completion-messages": ("POST", generate.complete),
    "/chat-messages": ("POST", generate.chat),
    "/workflows/run": ("POST", generate.run_workflow),
    "/conversations": ("GET", conversations.list_conversations),
    "/messages": ("GET", messages.list_messages),
    "/info": ("GET", about.info),
    "/parameters": ("GET", about.parameters),
    "/meta": ("GET", about.meta),
    "/site": ("GET", about.site),
}


class Dify:
    """The dialect `dify`."""

    name: Final = generate.NAME
    operations: Final = OPERATIONS

    def endpoint(self, method: str, rest: str) -> Endpoint | None:
        """The endpoints of an app.

        Raises:
            Refusal: 405, one of them by another method.
        """
        if rest in _PATHS:
            allowed, serve = _PATHS[rest]
            return _only(method, allowed, serve)
        if (task_id := stop.stop_id(rest)) is not None:
            return _only(method, "POST", partial(stop.stop, task_id))
        if (message_id := messages.feedback_id(rest)) is not None:
            return _only(method, "POST", partial(messages.rate, message_id))
        match rest.split("/"):
            case ["", "conversations", conversation_id]:
                return _only(method, "DELETE", partial(conversations.delete, conversation_id))
            case ["", "conversations", conversation_id, "name"]:
                return _only(method, "POST", partial(conversations.rename, conversation_id))
        return None

    def refused(self, refusal: Refusal) -> PlainReply:
        """Dify's error object."""
        return errors.refused(refusal)


def _only(method: str, allowed: str, serve: Callable[..., Any]) -> Endpoint:
    if method != allowed:
        raise Refusal(405, "method_not_allowed", f"This path takes {allowed}.", headers={"Allow": allowed})
    return serve
