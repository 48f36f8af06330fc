"""The shapes of Anthropic's Messages API that we write ourselves: events, errors. Source: Anthropic's API reference."""

import json
from typing import Any, Final

from proxy.core import sse

PREFIX: Final = "msg_"
"""What the id of a message begins with."""

SERVER_ERROR: Final = 500

_TYPES: Final = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_STOP_REASONS: Final = {"stop": "end_turn"}


def error_type(status: int) -> str:
    """The API's word for an error with this HTTP status."""
    return _TYPES.get(status, "api_error" if status >= SERVER_ERROR else "invalid_request_error")


def stop_reason(finish_reason: str) -> str:
    """The API's word for one of our settings'; `cancelled` stays as it is: no client looks for a known one."""
    return _STOP_REASONS.get(finish_reason, finish_reason)


def event(kind: str, **fields: Any) -> bytes:
    """One event. Its type stands in its data and in its line: clients of the API skip events without the line."""
    return sse.encode_event(json.dumps({"type": kind, **fields}, separators=(",", ":")).encode(), kind)


def message_start(ident: str, model: str, input_tokens: int) -> bytes:
    """The beginning of a message without content."""
    message: dict[str, Any] = {
        "id": ident,
        "type": "message",
        "role": "assistant",
        "content": [],
        "model": model,
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": input_tokens, "output_tokens": 0},
    }
    return event("message_start", message=message)
