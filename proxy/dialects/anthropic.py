"""Anthropic's Messages API, passed through: messages are understood, the rest goes by.

Source: Anthropic's API reference. It has no stop for a message, so the stop routes are ours. The rest of a route's
dialects come before passing on: an upstream that speaks OpenAI's API too is served by `[anthropic, openai]`.
"""

import json
from typing import Any, Final

from proxy.core.errors import Refusal
from proxy.core.receipt import receipt
from proxy.core.record import Record
from proxy.core.request_body import MAX_USER, BodyError, name_in, parse_model_call
from proxy.core.settings.settings import RouteSettings
from proxy.core.usage import UsageAsk
from proxy.dialects.operations_passed import ANTHROPIC
from proxy.engine.dialect import Endpoint, ModelCall, PassThrough, StopCall
from proxy.engine.plain import PlainReply, PlainRequest
from proxy.engine.relaying.plan import Plan
from proxy.wire.anthropic import AnthropicMessages
from proxy.wire.anthropic_answer import AnthropicAnswerFold
from proxy.wire.anthropic_shapes import error_type
from proxy.wire.body_edit import as_stream

WIRE: Final = AnthropicMessages()
MESSAGES: Final = "/messages"


class Anthropic:
    """The dialect `anthropic`."""

    name: Final = "anthropic"
    operations: Final = ANTHROPIC

    def endpoint(self, method: str, rest: str) -> Endpoint:
        """Messages and their stop route are ours; the rest is passed on: token counts, batches, models, files.

        Raises:
            Refusal: 405, the stop route asked for by another method than POST; it is never passed on. 404, one of ours
                in other letters: an upstream that takes those too would be called unseen.
        """
        if (any_id := _stop_id(rest)) is not None:
            if method != "POST":
                raise Refusal(405, "method_not_allowed", "This path takes POST.", headers={"Allow": "POST"})
            return StopCall(any_id, self.stopped)
        if _is_call(method, rest):
            return ModelCall(self.plan)
        if _stop_id(rest.lower()) is not None or _is_call(method, rest.lower()):
            raise Refusal.not_found()
        return PassThrough()

    def plan(self, request: PlainRequest, route: RouteSettings, *, asks_usage: UsageAsk, forbids_usage: bool) -> Plan:  # noqa: ARG002 usage always comes
        """Check the body, and decide what is asked of the upstream."""
        try:
            call = parse_model_call(request.body)
            user = _user(call.body)
        except BodyError as error:
            raise Refusal.bad_request(error.code, error.message, error.param) from error
        folded = route.blocking == "stream" and not call.stream
        return Plan(
            dialect=self.name,
            wire=WIRE,
            path=request.rest,
            query=request.query,
            body=as_stream(request.body, usage=UsageAsk.NOTHING) if folded else request.body,
            model=call.model,
            user=request.user_header or user,
            streamed=call.stream,
            folded=folded,
            answer_fold=AnthropicAnswerFold,
            wants_usage=call.stream,
            max_tokens=call.max_tokens,
        )

    def stopped(self, record: Record) -> PlainReply:
        """The native receipt: the API has no stop for messages, so this one is ours."""
        return PlainReply(200, json.dumps(receipt(record)).encode())

    def refused(self, refusal: Refusal) -> PlainReply:
        """Anthropic's error object, with our code in it."""
        error = {"type": error_type(refusal.status), "message": refusal.message, "code": refusal.code}
        body = json.dumps({"type": "error", "error": error}).encode()
        return PlainReply(refusal.status, body, tuple(refusal.headers.items()))


def _is_call(method: str, rest: str) -> bool:
    return method == "POST" and rest.removesuffix("/") == MESSAGES


def _stop_id(rest: str) -> str | None:
    """The id in the path of the stop route; None: it is none."""
    match rest.split("/"):
        case ["", "messages", any_id, "cancel"] if any_id:
            return any_id
    return None


def _user(body: dict[str, Any]) -> str | None:
    """The end user, as the API names one.

    Raises:
        BodyError: it is no name that could be kept.
    """
    metadata = body.get("metadata")
    return name_in(metadata, "user_id", MAX_USER) if isinstance(metadata, dict) else None
