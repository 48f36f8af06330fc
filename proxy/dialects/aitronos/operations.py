"""The calls of Aitronos' API that are served, as the description of the HTTP API lists them."""

from typing import Final

from proxy.engine.operation import Operation

_RESPONSE: Final = "/model/response"
_THREAD: Final = "/threads/{thread_id}"

OPERATIONS: Final = (
    Operation("POST", _RESPONSE, "Make a response, as a stream of events or as one answer.", "starts"),
    Operation("POST", f"{_RESPONSE}/stream", "Make a response as a stream.", "starts"),
    Operation(
        "POST",
        f"{_RESPONSE}/{{thread_id}}/cancel",
        "Cancel what a thread makes, or edit it soon after its start.",
        "stops",
    ),
    Operation("GET", f"{_RESPONSE}/output-modes", "The output modes."),
    Operation("GET", f"{_RESPONSE}/reasoning-levels", "The reasoning levels."),
    Operation("GET", "/models", "The models."),
    Operation("GET", "/threads", "The caller's threads."),
    Operation("POST", "/threads", "Create a thread."),
    Operation("GET", _THREAD, "Read a thread."),
    Operation("PATCH", _THREAD, "Change a thread."),
    Operation("DELETE", _THREAD, "Delete a thread; what it makes is stopped.", "stops"),
    Operation("GET", f"{_THREAD}/messages", "The messages of a thread."),
)
