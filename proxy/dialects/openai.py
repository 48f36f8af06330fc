"""OpenAI's API, passed through: chat completions, completions and responses are understood, the rest goes by.

Source: OpenAI's API reference; the stop routes are ours.
"""

import json
from functools import partial
from typing import Final

from proxy.core.errors import Refusal, openai_error_body
from proxy.core.lifecycle import OnDisconnect
from proxy.core.receipt import receipt
from proxy.core.record import Record
from proxy.core.request_body import BodyError, parse_model_call
from proxy.core.request_body import ModelCall as ParsedCall
from proxy.core.settings.settings import RouteSettings
from proxy.core.usage import UsageAsk
from proxy.dialects.openai_responses import CANCEL, RESPONSES, WIRE, background_id, cancel_response, response_id_of
from proxy.dialects.operations_passed import of_openai
from proxy.engine.dialect import Endpoint, ModelCall, PassThrough, StopCall
from proxy.engine.plain import PlainReply, PlainRequest
from proxy.engine.relaying.plan import Plan
from proxy.wire.base import Wire
from proxy.wire.body_edit import as_stream
from proxy.wire.opaque import Opaque
from proxy.wire.openai_chat import OpenAIChat
from proxy.wire.openai_completions import OpenAICompletions

WIRES: Final[dict[str, Wire]] = {"/chat/completions": OpenAIChat(), "/completions": OpenAICompletions()}
OPAQUE: Final[Wire] = Opaque()

OTHER_CALLS: Final = frozenset(
    {
        "/audio/speech",
        "/audio/transcriptions",
        "/audio/translations",
        "/embeddings",
        "/images/edits",
        "/images/generations",
        "/images/variations",
        "/messages",
        "/moderations",
        "/rerank",
    }
)
"""Model calls whose answers are not read: they have ids and can be stopped, but no partial text."""

FORMS: Final = frozenset({"/audio/transcriptions", "/audio/translations", "/images/edits", "/images/variations"})
"""Those of them whose body may be something else than JSON: it is a form with a file in it."""

STOPPABLE: Final = ("/chat/completions/", "/completions/")


class OpenAI:
    """The dialect `openai`."""

    name: Final = "openai"
    operations: Final = of_openai(sorted(OTHER_CALLS))

    def endpoint(self, method: str, rest: str) -> Endpoint:
        """Model calls and their stop routes are ours; the rest is passed on.

        Raises:
            Refusal: 405, a stop route asked for by another method than POST; it is never passed on. 404, one of ours
                in other letters: an upstream that takes those too would be called unseen.
        """
        any_id = _stop_id(rest)
        if any_id is not None:
            return self._stop_call(method, any_id)
        if (response_id := response_id_of(rest)) is not None:
            _check_post(method)
            return partial(cancel_response, response_id)
        if _is_call(method, rest):
            return ModelCall(self.plan)
        lower = rest.lower()
        if _stop_id(lower) is not None or response_id_of(lower) is not None or _is_call(method, lower):
            raise Refusal.not_found()
        return PassThrough()

    def plan(self, request: PlainRequest, route: RouteSettings, *, asks_usage: UsageAsk, forbids_usage: bool) -> Plan:
        """Check the body, and decide what is asked of the upstream."""
        if _plain(request.rest) == RESPONSES:
            return self._response(request)
        wire = WIRES.get(_plain(request.rest))
        if wire is None:
            return self._opaque(request)
        call = _parsed(request.body)
        folded = route.blocking == "stream" and not call.stream
        asks = _asks(call, asks_usage)
        body = request.body
        if folded:  # an answer that is no stream always has its usage
            asks = UsageAsk.NOTHING if forbids_usage else max(asks_usage, UsageAsk.FINAL)
            body = as_stream(body, usage=asks)
        elif asks:
            body = wire.ask_for_usage(body, continuous=asks >= UsageAsk.RUNNING)
        return Plan(
            dialect=self.name,
            wire=wire,
            path=request.rest,
            query=request.query,
            body=body,
            model=call.model,
            user=request.user_header or call.user,
            max_tokens=call.max_tokens,
            streamed=call.stream,
            folded=folded,
            wants_usage=call.stream and call.include_usage,
            wants_running=call.stream and call.running_usage,
            asks_usage=asks,
            strips_usage=asks >= UsageAsk.FINAL and call.stream and not call.include_usage,
            strips_running=asks >= UsageAsk.RUNNING and call.stream,
        )

    def _stop_call(self, method: str, any_id: str) -> StopCall:
        _check_post(method)
        return StopCall(any_id, self.stopped)

    def _response(self, request: PlainRequest) -> Plan:
        """A response. One in the background goes on without its reader, and its first answer has nothing to count."""
        call = _parsed(request.body)
        background = call.body.get("background") is True
        return Plan(
            dialect=self.name,
            wire=WIRE,
            path=request.rest,
            query=request.query,
            body=request.body,
            model=call.model,
            user=request.user_header or call.user,
            max_tokens=call.max_tokens,
            streamed=call.stream,
            counts=call.stream or not background,
            message_id=background_id() if background else None,
            on_disconnect=OnDisconnect.FINISH if background else None,
        )

    def _opaque(self, request: PlainRequest) -> Plan:
        if request.content_type == "application/json" or _plain(request.rest) not in FORMS:
            call = _parsed(request.body)
            model, user, streamed = call.model, call.user, call.stream
        else:
            model, user, streamed = None, None, False
        return Plan(
            dialect=self.name,
            wire=OPAQUE,
            path=request.rest,
            query=request.query,
            body=request.body,
            model=model,
            user=request.user_header or user,
            streamed=streamed,
            counts=False,
        )

    def stopped(self, record: Record) -> PlainReply:
        """The native receipt: OpenAI has no stop for completions, so this one is ours."""
        return PlainReply(200, json.dumps(receipt(record)).encode())

    def refused(self, refusal: Refusal) -> PlainReply:
        """OpenAI's error object."""
        return PlainReply(refusal.status, openai_error_body(refusal), tuple(refusal.headers.items()))


def _asks(call: ParsedCall, most: UsageAsk) -> UsageAsk:
    """What a stream is asked for beside what its client asks for; who asks for running totals gets what it asked."""
    own = UsageAsk.RUNNING if call.running_usage else UsageAsk.FINAL if call.include_usage else UsageAsk.NOTHING
    return most if call.stream and most > own else UsageAsk.NOTHING


def _plain(rest: str) -> str:
    """A path as the API reference has it: some servers take it with a slash at its end too."""
    return rest.removesuffix("/")


def _is_call(method: str, rest: str) -> bool:
    plain = _plain(rest)
    return method == "POST" and (plain in WIRES or plain == RESPONSES or plain in OTHER_CALLS)


def _check_post(method: str) -> None:
    if method != "POST":
        raise Refusal(405, "method_not_allowed", "This path takes POST.", headers={"Allow": "POST"})


def _stop_id(rest: str) -> str | None:
    """The id in the path of a stop route; None: it is none."""
    for prefix in STOPPABLE:
        any_id, slash, verb = rest.removeprefix(prefix).partition("/")
        if rest.startswith(prefix) and slash and verb == CANCEL:
            return any_id
    return None


def _parsed(body: bytes) -> ParsedCall:
    try:
        return parse_model_call(body)
    except BodyError as error:
        raise Refusal.bad_request(error.code, error.message, error.param) from error
