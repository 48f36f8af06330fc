"""The calls of the async messages API that are served, as the description of the HTTP API lists them."""

from typing import Final

from proxy.engine.operation import Operation

_ONE: Final = "/messages/async/{message_id}"

OPERATIONS: Final = (
    Operation("POST", "/messages/async", "Start a message, which is made whether anybody reads it or not.", "starts"),
    Operation("GET", f"{_ONE}/stream", "The message's events from the first one on, live or over."),
    Operation("GET", f"{_ONE}/status", "How far the message is."),
    Operation("POST", f"{_ONE}/cancel", "Cancel the message; returns when the upstream is closed.", "stops"),
    Operation("DELETE", _ONE, "Delete the message; what lives is stopped first.", "stops"),
    Operation("DELETE", f"{_ONE}/delete", "The same.", "stops"),
)
