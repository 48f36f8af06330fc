"""Gemini's API, passed through: what serves an `openai` route first whose upstream has `format: gemini`.

Source: Google's API reference. Its two calls that generate are understood, the rest goes by. A generation is stopped by
the native routes, under the `responseId` that its first answer names too.
"""

import json
import re
from typing import Any, Final
from urllib.parse import parse_qsl

from proxy.core.errors import Refusal
from proxy.core.request_body import BodyError, most_tokens, parse_object
from proxy.core.settings.route import GEMINI
from proxy.core.settings.settings import RouteSettings
from proxy.core.usage import MAX_COUNT, UsageAsk
from proxy.dialects.operations_passed import GEMINI as OPERATIONS
from proxy.engine.dialect import Endpoint, ModelCall, PassThrough
from proxy.engine.plain import PlainReply, PlainRequest
from proxy.engine.relaying.plan import Plan
from proxy.wire.gemini import Gemini as GeminiWire
from proxy.wire.gemini_shapes import error_object

WIRE: Final = GeminiWire()

_CALL: Final = re.compile(r"/(?:[^/]+/)*([!-.0-9;-~]{1,256}):(generateContent|streamGenerateContent)")
_LIKE_A_CALL: Final = re.compile(r".*:(?:stream)?generatecontent/?", re.IGNORECASE)


class Gemini:
    """Not a word for `dialect`: see `RouteSettings.serving`. Records name the route's dialect."""

    name: Final = GEMINI
    operations: Final = OPERATIONS

    def endpoint(self, method: str, rest: str) -> Endpoint:
        """`…/models/{model}:generateContent` and `:streamGenerateContent` are model calls; the rest is passed on.

        Raises:
            Refusal: 404, one of ours in another spelling: an upstream that takes that too would be called unseen.
        """
        if method != "POST":
            return PassThrough()
        if _CALL.fullmatch(rest):
            return ModelCall(self.plan)
        if _LIKE_A_CALL.fullmatch(rest):
            raise Refusal.not_found()
        return PassThrough()

    def plan(self, request: PlainRequest, route: RouteSettings, *, asks_usage: UsageAsk, forbids_usage: bool) -> Plan:  # noqa: ARG002 usage always comes
        """Check the body; the model stands in the path, and the query says whether events are wanted."""
        try:
            body = parse_object(request.body)
        except BodyError as error:
            raise Refusal.bad_request(error.code, error.message, error.param) from error
        found = _CALL.fullmatch(request.rest)
        streamed = found is not None and found[2].startswith("stream") and _wants_events(request.query)
        return Plan(
            dialect="openai",
            wire=WIRE,
            path=request.rest,
            query=request.query,
            body=request.body,
            model=found[1] if found else None,
            user=request.user_header,
            streamed=streamed,
            wants_usage=streamed,
            max_tokens=_most_tokens(body),
        )

    def refused(self, refusal: Refusal) -> PlainReply:
        """Google's error object."""
        body = json.dumps(error_object(refusal.status, refusal.message)).encode()
        return PlainReply(refusal.status, body, tuple(refusal.headers.items()))


def _most_tokens(body: dict[str, Any]) -> int | None:
    """The most completion tokens that a request allows, of all its candidates."""
    config = body.get("generationConfig")
    if not isinstance(config, dict):
        return None
    count = config.get("candidateCount")
    choices = count if type(count) is int and 0 < count <= MAX_COUNT else 1
    return most_tokens({"max_tokens": config.get("maxOutputTokens")}, choices)


def _wants_events(query: str) -> bool:
    """Whether the answers are to come as events; else they come as one array, which is whole at its end only."""
    return any(name in ("alt", "$alt") and value.lower() == "sse" for name, value in parse_qsl(query))
