"""Dify's app API: its endpoints as functions of a request and the caller's desk.

Source: Dify's API documentation (completion, chat and workflow apps). A route serves all of its endpoints: what a Dify
server keeps apart by an app's mode is one app here.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Final

from proxy.core.conversation import Message, MessageStatus
from proxy.core.errors import Refusal
from proxy.core.ids import new_id
from proxy.core.request_body import BodyError
from proxy.dialects.dify import errors
from proxy.dialects.dify.request import Asked, read_request
from proxy.dialects.dify.translation import MessageTranslation
from proxy.engine.desk import Desk
from proxy.engine.dialect import Endpoint, PlainReply, PlainRequest
from proxy.engine.plan import Plan
from proxy.engine.translation import Kept
from proxy.wire.chat_request import PATH, chat_request
from proxy.wire.openai_chat import OpenAIChat

NAME: Final = "dify"
WIRE: Final = OpenAIChat()
STOPS: Final = ("/completion-messages/", "/chat-messages/", "/workflows/tasks/")
SUCCESS: Final = PlainReply(200, b'{"result": "success"}')


class Dify:
    """The dialect `dify`."""

    name: Final = NAME

    def endpoint(self, method: str, rest: str) -> Endpoint | None:
        """The endpoints of an app.

        Raises:
            Refusal: 405, one of them by another method.
        """
        if (task_id := _stop_id(rest)) is not None:
            return _only(method, "POST", partial(stop, task_id))
        match rest:
            case "/completion-messages":
                return _only(method, "POST", complete)
        return None

    def refused(self, refusal: Refusal) -> PlainReply:
        """Dify's error object."""
        return errors.refused(refusal)


async def complete(request: PlainRequest, desk: Desk) -> Plan:
    """`POST /completion-messages`."""
    asked = read_request(await _object(request.body, desk))
    return _plan(desk, asked, asked.messages(desk.route), MessageTranslation("completion"), new_id(), None)


async def stop(task_id: str, request: PlainRequest, desk: Desk) -> PlainReply:
    """The three stop routes: always success; what is not the user's own, or unknown, stays as it is."""
    user = (await _object(request.body, desk)).get("user")
    if not isinstance(user, str) or not user:
        raise errors.invalid_param("Arg user must be provided.", "user")
    await desk.stop(task_id, dialect=NAME, user=user)
    return SUCCESS


def _plan(
    desk: Desk, asked: Asked, messages: list[dict[str, Any]], translation: MessageTranslation, message_id: str, _: None
) -> Plan:
    model = desk.route.model
    if model is None:
        raise Refusal.bad_request("provider_not_initialize", "The route names no model: set its `model` in the config.")
    answer = Message(
        id=message_id,
        identity=desk.identity.name,
        dialect=NAME,
        role="assistant",
        created_at=desk.wall(),
        status=MessageStatus.IN_PROGRESS,
        user=asked.user,
    )
    return Plan(
        dialect=NAME,
        wire=WIRE,
        path=PATH,
        query="",
        body=chat_request(model, messages, asks_usage=desk.asks_usage, user=asked.user),
        model=model,
        user=asked.user,
        streamed=asked.streams,
        translation=translation,
        kept=Kept(answer),
        message_id=message_id,
    )


async def _object(body: bytes, desk: Desk) -> dict[str, Any]:
    try:
        return await desk.parse(body) if body.strip() else {}
    except BodyError as error:
        raise Refusal.bad_request("bad_request", error.message) from error


def _stop_id(rest: str) -> str | None:
    for prefix in STOPS:
        task_id, slash, verb = rest.removeprefix(prefix).partition("/")
        if rest.startswith(prefix) and slash and verb == "stop":
            return task_id
    return None


def _only(method: str, allowed: str, serve: Callable[..., Any]) -> Endpoint:
    if method != allowed:
        raise Refusal(405, "method_not_allowed", f"This path takes {allowed}.", headers={"Allow": allowed})
    return serve
