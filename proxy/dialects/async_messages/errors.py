"""The errors of the API: FastAPI's `detail` and Anthropic's `error` in one body. Sources: PrivateGPT, Anthropic."""

import json
from collections.abc import Sequence
from typing import Any, Final

from proxy.core.errors import Refusal
from proxy.engine.plain import PlainReply
from proxy.wire.anthropic_shapes import error_type

UNAUTHORIZED: Final = 401
NOT_FOUND: Final = 404
UNPROCESSABLE: Final = 422
OVERLOADED: Final = 503
ANTHROPIC_OVERLOADED: Final = 529

NO_STREAM: Final = "stream_not_found"
INVALID: Final = "validation_error"
CHALLENGE: Final = 'Basic realm="messages", Bearer realm="messages"'


def invalid(where: Sequence[str | int], what: str) -> Refusal:
    """422: a field of the body is missing or wrong; `where` is the way to it, `what` says what was expected."""
    field = ".".join(map(str, where))
    message = f"{field}: {what}" if field else what
    return Refusal(UNPROCESSABLE, INVALID, message, param=".".join(("body", *map(str, where))))


def invalid_id() -> Refusal:
    """422: an id that could not stand in a path."""
    message = "message_id: must be 1 to 128 of the characters A-Z a-z 0-9 . _ : - (and not '.' or '..' alone)"
    return Refusal(UNPROCESSABLE, INVALID, message, param="query.message_id")


def duplicate() -> Refusal:
    """422: a message with this id is stored."""
    message = "Stream with this message_id already exists"
    return Refusal(UNPROCESSABLE, INVALID, message, param="query.message_id")


def no_stream(message_id: str) -> Refusal:
    """404: the caller has no message with this id; the same words for an unknown, a foreign and a deleted one."""
    return Refusal(NOT_FOUND, NO_STREAM, f"Stream with message_id {message_id} not found")


def error_object(refusal: Refusal) -> dict[str, Any]:
    """Anthropic's `error`, with the `detail` that this API adds."""
    detail = {"code": refusal.code, "explanation": refusal.message}
    return {"type": error_type(refusal.status), "message": refusal.message, "detail": detail}


def refused(refusal: Refusal) -> PlainReply:
    """A refusal as an answer."""
    if refusal.code == "id_in_use":  # somebody else of the same caller was quicker with it
        refusal = duplicate()
    status = ANTHROPIC_OVERLOADED if refusal.status == OVERLOADED else refusal.status
    headers = dict(refusal.headers)
    if status == UNAUTHORIZED:
        headers["WWW-Authenticate"] = CHALLENGE
    return PlainReply(status, json.dumps(_body(refusal)).encode(), tuple(headers.items()))


def _body(refusal: Refusal) -> dict[str, Any]:
    if refusal.code == NO_STREAM:
        return {"detail": refusal.message}
    return {"detail": _detail(refusal), "type": "error", "error": error_object(refusal)}


def _detail(refusal: Refusal) -> str | list[dict[str, Any]]:
    if refusal.status == UNAUTHORIZED:
        return "Not authenticated"
    if refusal.status != UNPROCESSABLE:
        return refusal.message
    where = [int(part) if part.isdecimal() else part for part in (refusal.param or "body").split(".")]
    return [{"loc": where, "msg": refusal.message, "type": "value_error"}]
