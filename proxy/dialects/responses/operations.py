"""The calls of the emulated Responses API, as the description of the HTTP API lists them."""

from typing import Final

from proxy.engine.operation import Operation

_ONE: Final = "/responses/{response_id}"

OPERATIONS: Final = (
    Operation("POST", "/responses", "Make a response from a chat completion of the upstream.", "starts"),
    Operation("GET", _ONE, "Read a response; with stream, its events again."),
    Operation("DELETE", _ONE, "Delete a response; what lives is stopped first.", "stops"),
    Operation("POST", f"{_ONE}/cancel", "Cancel a response.", "stops"),
    Operation("GET", f"{_ONE}/input_items", "What a response was made from."),
)
