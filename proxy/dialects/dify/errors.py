"""Dify's error object, and which of its codes a refusal is. Source: Dify's API documentation and server source."""

import json
from typing import Final

from proxy.core.errors import Refusal, Source
from proxy.engine.dialect import PlainReply

INTERNAL: Final = 500
UNAUTHORIZED: Final = 401
TOO_MANY: Final = 429

_CODES: Final = {
    "invalid_json": "bad_request",
    "duplicate_key": "bad_request",
    "rate_limit_exceeded": "too_many_requests",
    "not_found": "not_found",
    "method_not_allowed": "method_not_allowed",
    "request_too_large": "file_too_large",
    "internal_error": "internal_server_error",
}
_OWN: Final = frozenset(
    {
        "app_unavailable",
        "bad_request",
        "conversation_completed",
        "invalid_param",
        "not_found",
        "provider_not_initialize",
        "unsupported_file_type",
    }
)


def invalid_param(message: str, param: str | None = None) -> Refusal:
    """400: a field is missing or wrong; `param` names it."""
    return Refusal.bad_request("invalid_param", message, param)


def code_of(refusal: Refusal) -> tuple[int, str]:
    """Status and code of a refusal in Dify's words."""
    if refusal.source is Source.UPSTREAM and refusal.code == "rejected_upstream":
        return 400, _rejected(refusal.status)
    if refusal.code in _OWN:
        return refusal.status, refusal.code
    if refusal.status == UNAUTHORIZED:
        return UNAUTHORIZED, "unauthorized"
    if refusal.source is Source.UPSTREAM:
        return 400, "completion_request_error"
    fallback = "invalid_param" if refusal.status == 400 else refusal.code  # noqa: PLR2004 what is left of 400
    return refusal.status, _CODES.get(refusal.code, fallback)


def _rejected(status: int) -> str:
    """What an upstream's refusal means: its credential, its quota, its model, or anything else."""
    match status:
        case 401 | 403:
            return "provider_not_initialize"
        case 402 | 429:
            return "provider_quota_exceeded"
        case 404:
            return "model_currently_not_support"
        case _:
            return "completion_request_error"


def refused(refusal: Refusal) -> PlainReply:
    """A refusal as an answer; what a validation error is about stands in `params`."""
    status, code = code_of(refusal)
    body = {"code": code, "message": refusal.message, "status": status}
    if refusal.param is not None:
        body["params"] = refusal.param
    headers = dict(refusal.headers)
    if status == UNAUTHORIZED:
        headers["WWW-Authenticate"] = 'Bearer realm="api"'
    return PlainReply(status, json.dumps(body).encode(), tuple(headers.items()))
