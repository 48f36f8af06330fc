"""The shape of errors of Google's APIs. Source: Google's API design guide: an HTTP status, and a word of gRPC's."""

from typing import Any, Final

SERVER_ERROR: Final = 500

_WORDS: Final = {
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    408: "DEADLINE_EXCEEDED",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    504: "DEADLINE_EXCEEDED",
}


def error_object(status: int, message: str) -> dict[str, Any]:
    """The body of an error with this HTTP status."""
    word = _WORDS.get(status, "UNAVAILABLE" if status >= SERVER_ERROR else "INVALID_ARGUMENT")
    return {"error": {"code": status, "message": message, "status": word}}
