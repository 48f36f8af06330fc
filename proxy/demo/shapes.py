"""How answers look on the wire, streamed and whole: chat completions, a tool call in one, and (legacy) completions."""

import json
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from proxy.core.errors import Refusal, openai_error_body

FinishReason = Literal["stop", "length", "tool_calls"]

DONE = b"data: [DONE]\n\n"


def event(data: dict[str, Any]) -> bytes:
    """One SSE event."""
    return b"data: " + json.dumps(data, separators=(",", ":")).encode() + b"\n\n"


def usage(prompt: int, completion: int) -> dict[str, int]:
    """The token counts."""
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


@dataclass(frozen=True, slots=True)
class Chat:
    """Chat completions. `with_usage`: every chunk has the field, as null until the last one."""

    id: str
    model: str
    created: int
    with_usage: bool

    prefix: ClassVar[str] = "chatcmpl"
    chunk_object: ClassVar[str] = "chat.completion.chunk"
    whole_object: ClassVar[str] = "chat.completion"
    done: ClassVar[bytes] = DONE

    def opening(self, index: int) -> bytes | None:
        """The event before the first token of a choice."""
        return self.chunk({"index": index, "delta": {"role": "assistant", "content": ""}, "finish_reason": None})

    def piece(self, index: int, text: str) -> bytes:
        """The event of one token."""
        return self.chunk({"index": index, "delta": {"content": text}, "finish_reason": None})

    def finish(self, index: int, reason: FinishReason) -> bytes:
        """The event that ends a choice."""
        return self.chunk({"index": index, "delta": {}, "finish_reason": reason})

    def choice(self, index: int, text: str, reason: FinishReason) -> dict[str, Any]:
        """A choice of an answer that is not streamed."""
        return {"index": index, "message": {"role": "assistant", "content": text}, "finish_reason": reason}

    def chunk(self, choice: dict[str, Any]) -> bytes:
        """An event with one choice in it."""
        return event(
            self._head(self.chunk_object) | {"choices": [choice]} | ({"usage": None} if self.with_usage else {})
        )

    def usage_chunk(self, counts: dict[str, int]) -> bytes:
        """The event with the token counts."""
        return event(self._head(self.chunk_object) | {"choices": [], "usage": counts})

    def whole(self, choices: list[dict[str, Any]], counts: dict[str, int]) -> dict[str, Any]:
        """An answer that is not streamed."""
        return self._head(self.whole_object) | {"choices": choices, "usage": counts}

    def error(self, refusal: Refusal) -> bytes:
        """The event that says that the answer failed."""
        return b"data: " + openai_error_body(refusal) + b"\n\n"

    def _head(self, name: str) -> dict[str, Any]:
        return {"id": self.id, "object": name, "created": self.created, "model": self.model}


@dataclass(frozen=True, slots=True)
class Completion(Chat):
    """Completions, the API before chat."""

    prefix: ClassVar[str] = "cmpl"
    chunk_object: ClassVar[str] = "text_completion"
    whole_object: ClassVar[str] = "text_completion"

    def opening(self, index: int) -> bytes | None:  # noqa: ARG002 - here nothing comes before the first token
        """Nothing."""
        return None

    def piece(self, index: int, text: str) -> bytes:
        """The event of one token."""
        return self.chunk({"index": index, "text": text, "logprobs": None, "finish_reason": None})

    def finish(self, index: int, reason: FinishReason) -> bytes:
        """The event that ends a choice."""
        return self.chunk({"index": index, "text": "", "logprobs": None, "finish_reason": reason})

    def choice(self, index: int, text: str, reason: FinishReason) -> dict[str, Any]:
        """A choice of an answer that is not streamed."""
        return {"index": index, "text": text, "logprobs": None, "finish_reason": reason}


@dataclass(frozen=True, slots=True)
class ToolCall(Chat):
    """A chat completion that calls a tool; its tokens are the pieces of the arguments."""

    tool: str

    def opening(self, index: int) -> bytes | None:
        """The event that names the tool."""
        calls = [{"index": 0} | self._call(index, "")]
        delta = {"role": "assistant", "content": None, "tool_calls": calls}
        return self.chunk({"index": index, "delta": delta, "finish_reason": None})

    def piece(self, index: int, text: str) -> bytes:
        """The event of one piece of the arguments."""
        delta = {"tool_calls": [{"index": 0, "function": {"arguments": text}}]}
        return self.chunk({"index": index, "delta": delta, "finish_reason": None})

    def choice(self, index: int, text: str, reason: FinishReason) -> dict[str, Any]:
        """A choice of an answer that is not streamed."""
        message = {"role": "assistant", "content": None, "tool_calls": [self._call(index, text)]}
        return {"index": index, "message": message, "finish_reason": reason}

    def _call(self, index: int, arguments: str) -> dict[str, Any]:
        call_id = f"call_{self.id.rpartition('-')[2]}_{index}"
        return {"id": call_id, "type": "function", "function": {"name": self.tool, "arguments": arguments}}
