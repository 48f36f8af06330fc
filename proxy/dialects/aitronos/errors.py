"""The API's error envelope, and which of its codes a refusal is.

Source: Aitronos' API documentation. Where it names no code for what can happen here, the code says it in its style.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from proxy.core.errors import Refusal, Source
from proxy.core.ids import new_id
from proxy.engine.plain import PlainReply

SERVER_ERROR: Final = 500

_CODES: Final = {
    400: "INVALID_REQUEST",
    401: "AUTHENTICATION_REQUIRED",
    403: "INSUFFICIENT_PERMISSIONS",
    404: "RESOURCE_NOT_FOUND",
    405: "METHOD_NOT_ALLOWED",
    408: "REQUEST_TIMEOUT",
    409: "RESOURCE_CONFLICT",
    413: "PAYLOAD_TOO_LARGE",
    422: "VALIDATION_ERROR",
    429: "RATE_LIMIT_EXCEEDED",
    499: "RESPONSE_CANCELLED",
    501: "NOT_IMPLEMENTED",
    502: "MODEL_PROVIDER_ERROR",
    503: "SERVICE_UNAVAILABLE",
    504: "MODEL_PROVIDER_TIMEOUT",
}
_TYPES: Final = {
    401: "authentication_error",
    403: "authorization_error",
    422: "validation_error",
    429: "rate_limit_error",
}


@dataclass(eq=False)
class Invalid(Refusal):
    """422: what is wrong with each field, by its path."""

    fields: Mapping[str, str] = field(default_factory=dict)


def invalid(fields: Mapping[str, str]) -> Invalid:
    """422 for fields that are missing or wrong; each text says what was expected."""
    message = "; ".join(f"{path}: {expected}" for path, expected in fields.items())
    return Invalid(422, "validation_error", f"{message}.", param=next(iter(fields), None), fields=dict(fields))


def not_found(what: str) -> Refusal:
    """404, the same for what is unknown and for what is somebody else's."""
    return Refusal(404, "resource_not_found", f"There is no {what}.")


def foreign() -> Refusal:
    """403: the stream is live, and another caller's."""
    message = "The active stream of this thread belongs to another caller."
    return Refusal(403, "insufficient_permissions", message)


def busy() -> Refusal:
    """409: one live stream for each thread."""
    message = "A response is running on this thread. Wait for its end, or cancel it."
    return Refusal(409, "resource_conflict", message)


def code_of(refusal: Refusal) -> tuple[int, str]:
    """Status and code of a refusal in this API's words.

    An upstream's own refusal must not look like one of ours: a credential that the provider does not take is nothing
    that the caller could mend.
    """
    status = refusal.status
    if refusal.source is Source.UPSTREAM and status < SERVER_ERROR:
        match status:
            case 429:
                return 429, "RATE_LIMIT_EXCEEDED"
            case 401 | 402 | 403 | 407:
                return 502, "MODEL_PROVIDER_ERROR"
            case _:
                return 400, "MODEL_REQUEST_REJECTED"
    if refusal.source is Source.UPSTREAM and status not in _CODES:
        return 502, "MODEL_PROVIDER_ERROR"
    return status, _CODES.get(status, "INVALID_REQUEST" if status < SERVER_ERROR else "INTERNAL_ERROR")


def refused(refusal: Refusal) -> PlainReply:
    """A refusal as an answer."""
    status, code = code_of(refusal)
    error = {
        "code": code,
        "message": refusal.message,
        "system_message": f"{refusal.code}: {refusal.message}",
        "type": _TYPES.get(status, "client_error" if status < SERVER_ERROR else "server_error"),
        "status": status,
        "details": _details(refusal),
        "trace_id": new_id(),
        "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
    }
    body = json.dumps({"success": False, "error": error}).encode()
    return PlainReply(status, body, tuple(refusal.headers.items()))


def _details(refusal: Refusal) -> dict[str, Any]:
    if isinstance(refusal, Invalid):
        return {"fields": [{"field": path, "message": expected} for path, expected in refusal.fields.items()]}
    return {} if refusal.param is None else {"fields": [{"field": refusal.param, "message": refusal.message}]}
