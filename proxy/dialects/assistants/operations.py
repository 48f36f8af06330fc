"""The calls of the Assistants API that are served, as the description of the HTTP API lists them."""

from dataclasses import replace
from typing import Final

from proxy.dialects.assistants.ids import ASSISTANT, THREAD
from proxy.engine.operation import Operation

_THREAD: Final = "/threads/{thread_id}"
_RUN: Final = f"{_THREAD}/runs/{{run_id}}"

_CALLS: Final = (
    Operation("GET", "/assistants", "The caller's assistants."),
    Operation("POST", "/assistants", "Create an assistant."),
    Operation("GET", "/assistants/{assistant_id}", "Read an assistant."),
    Operation("POST", "/assistants/{assistant_id}", "Change an assistant."),
    Operation("DELETE", "/assistants/{assistant_id}", "Delete an assistant."),
    Operation("POST", "/threads", "Create a thread."),
    Operation("POST", "/threads/runs", "Create a thread and run it.", "starts"),
    Operation("GET", _THREAD, "Read a thread."),
    Operation("POST", _THREAD, "Change a thread."),
    Operation("DELETE", _THREAD, "Delete a thread; what runs in it is stopped.", "stops"),
    Operation("GET", f"{_THREAD}/messages", "The messages of a thread."),
    Operation("POST", f"{_THREAD}/messages", "Add a message."),
    Operation("GET", f"{_THREAD}/messages/{{message_id}}", "Read a message."),
    Operation("POST", f"{_THREAD}/messages/{{message_id}}", "Change a message."),
    Operation("DELETE", f"{_THREAD}/messages/{{message_id}}", "Delete a message."),
    Operation("GET", f"{_THREAD}/runs", "The runs of a thread."),
    Operation("POST", f"{_THREAD}/runs", "Run a thread.", "starts"),
    Operation("GET", _RUN, "Read a run."),
    Operation("POST", _RUN, "Change a run."),
    Operation("POST", f"{_RUN}/cancel", "Cancel a run.", "stops"),
    Operation("POST", f"{_RUN}/submit_tool_outputs", "Go on with a run that waits for its tools.", "starts"),
    Operation("GET", f"{_RUN}/steps", "The steps of a run."),
    Operation("GET", f"{_RUN}/steps/{{step_id}}", "Read a step."),
)

_IDS: Final = {
    "{assistant_id}": f"{ASSISTANT}x",
    "{thread_id}": f"{THREAD}x",
    "{message_id}": "msg_x",
    "{run_id}": "run_x",
    "{step_id}": "step_x",
}


def _example(path: str) -> str:
    """A path with ids in it: those of assistants and threads are known by their form."""
    for name, ident in _IDS.items():
        path = path.replace(name, ident)
    return path


OPERATIONS: Final = tuple(replace(call, example=_example(call.path)) for call in _CALLS)
