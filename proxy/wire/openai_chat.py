"""The wire format of OpenAI's chat completions, and of the many servers that speak it."""

from typing import Any

from proxy.wire.openai_shared import OpenAIWire


class OpenAIChat(OpenAIWire):
    """Chat completions: deltas of messages."""

    name = "openai_chat"
    _object = "chat.completion.chunk"

    def _end_of(self, choice: int, finish_reason: str) -> dict[str, Any]:
        return {"index": choice, "delta": {}, "logprobs": None, "finish_reason": finish_reason}
