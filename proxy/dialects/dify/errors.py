"""Dify's error object, and which of its codes a refusal is. Source: Dify's API documentation and server source."""

import json
from typing import Final

from proxy.core.errors import Refusal, Source
from proxy.engine.plain import PlainReply

UNAUTHORIZED: Final = 401

_CODES: Final = {
    "invalid_json": "bad_request",
    "duplicate_key": "bad_request",
    "rate_limit_exceeded": "too_many_requests",
    "budget_exhausted": "rate_limit_error",
    "request_too_large": "file_too_large",
    "internal_error": "internal_server_error",
}
"""Codes of ours that Dify has another word for."""
_OWN: Final = frozenset({"bad_request", "invalid_param", "not_found", "provider_not_initialize", "task_id_in_use"})
"""Codes of a 400 or 404 that stand as they are; any other 400 is about a parameter."""


def invalid_param(message: str, param: str | None = None) -> Refusal:
    """400: a field is missing or wrong; `param` names it."""
    return Refusal.bad_request("invalid_param", message, param)


def not_there(what: str) -> Refusal:
    """404: there is none with this id, or it is somebody else's."""
    return Refusal(404, "not_found", f"{what} Not Exists.")


def code_of(refusal: Refusal) -> tuple[int, str]:
    """Status and code of a refusal in Dify's words; whatever goes wrong upstream is a 400 there."""
    if refusal.source is Source.UPSTREAM:
        return 400, _upstream(refusal)
    if refusal.code in _OWN:
        return refusal.status, refusal.code
    match refusal.status:
        case 401:
            return UNAUTHORIZED, "unauthorized"
        case 403:
            return 403, "forbidden"
        case 400:
            return 400, _CODES.get(refusal.code, "invalid_param")
        case _:
            return refusal.status, _CODES.get(refusal.code, refusal.code)


def _upstream(refusal: Refusal) -> str:
    """What an upstream's trouble is about: its credential, its quota, its model, or anything else."""
    if refusal.code != "rejected_upstream":
        return "completion_request_error"
    match refusal.status:
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
