"""The calls of the passed-through dialects that are understood, as the description of the HTTP API lists them.

Everything else below such a route is passed on as it comes.
"""

from collections.abc import Sequence
from typing import Final

from proxy.engine.operation import Operation

_CALL: Final = "/models/{model}"

ANTHROPIC: Final = (
    Operation("POST", "/messages", "Make a message; passed on byte for byte.", "starts"),
    Operation("POST", "/messages/{id}/cancel", "Stop a message, by its id or the task's.", "stops"),
)
GEMINI: Final = (
    Operation("POST", f"{_CALL}:generateContent", "Make content; passed on byte for byte.", "starts"),
    Operation("POST", f"{_CALL}:streamGenerateContent", "Make content as a stream; passed on byte for byte.", "starts"),
)


def of_openai(others: Sequence[str]) -> tuple[Operation, ...]:
    """Those of OpenAI's API; `others` are the model calls whose answers are not read."""
    return (
        Operation("POST", "/chat/completions", "Make a chat completion; passed on byte for byte.", "starts"),
        Operation("POST", "/completions", "Make a completion; passed on byte for byte.", "starts"),
        Operation("POST", "/responses", "Make a response; passed on byte for byte.", "starts"),
        Operation("POST", "/chat/completions/{id}/cancel", "Stop a chat completion, by its id or the task's.", "stops"),
        Operation("POST", "/completions/{id}/cancel", "Stop a completion, by its id or the task's.", "stops"),
        Operation("POST", "/responses/{id}/cancel", "Cancel a response.", "stops"),
        *(Operation("POST", path, "A model call whose answer is passed on unread.", "starts") for path in others),
    )
