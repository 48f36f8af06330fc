"""The wire format of OpenAI's older completions: bare text."""

from typing import Any

from proxy.wire.openai_shared import OpenAIWire


class OpenAICompletions(OpenAIWire):
    """Completions: pieces of text."""

    name = "openai_completions"
    _object = "text_completion"

    def _end_of(self, choice: int, finish_reason: str) -> dict[str, Any]:
        return {"index": choice, "text": "", "logprobs": None, "finish_reason": finish_reason}
