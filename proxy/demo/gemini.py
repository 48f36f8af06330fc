"""Gemini's API at the demo upstream: its calls as chat completions are asked for, and answers in its shape.

Source: Google's API reference. What a request may ask the demo upstream for stands where it does in OpenAI's: under
`demo`, or behind an `@` in the model's name, which is in the path here.
"""

import json
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from aiohttp import web

from proxy.core.errors import Refusal
from proxy.demo.plan import read_object
from proxy.demo.shapes import Chat, FinishReason, event
from proxy.wire.gemini_shapes import error_object

BASE: Final = "/v1beta"
"""Below which it is served."""

_REASONS: Final[dict[FinishReason, str]] = {"stop": "STOP", "length": "MAX_TOKENS", "tool_calls": "STOP"}
_ROLES: Final = {"model": "assistant"}


async def as_chat(request: web.Request) -> bytes:
    """The body of a chat completion that asks for the same.

    Raises:
        Refusal: 400, with what was expected.
    """
    streams = request.match_info["call"] == "streamGenerateContent"
    if streams and request.query.get("alt") != "sse":
        raise Refusal.bad_request("invalid_request", "alt: expected sse; the demo upstream streams events only.", "alt")
    body = read_object(await request.read())
    config, contents = body.get("generationConfig") or {}, body.get("contents")
    if not isinstance(config, dict):
        raise Refusal.bad_request("invalid_request", "generationConfig: expected an object.", "generationConfig")
    chat = {
        "model": request.match_info["model"],
        "stream": streams,
        "stream_options": {"include_usage": True},
        "messages": [_message(each) for each in contents] if isinstance(contents, list) else [],
        "max_tokens": config.get("maxOutputTokens"),
        "n": config.get("candidateCount"),
    }
    return json.dumps(chat | ({"demo": body["demo"]} if "demo" in body else {})).encode()


def error_body(refusal: Refusal) -> bytes:
    """A refusal in Google's shape."""
    return json.dumps(error_object(refusal.status, refusal.message)).encode()


def _message(content: Any) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise Refusal.bad_request("invalid_request", "contents: expected a list of objects.", "contents")
    role = content.get("role", "user")
    return {"role": _ROLES.get(role, role), "content": content.get("parts")}


@dataclass(frozen=True, slots=True)
class Gemini(Chat):
    """Answers of `generateContent` and `streamGenerateContent?alt=sse`."""

    prefix: ClassVar[str] = "gemini"
    done: ClassVar[bytes] = b""

    def opening(self, index: int) -> bytes | None:  # noqa: ARG002 - here nothing comes before the first token
        """Nothing."""
        return None

    def piece(self, index: int, text: str) -> bytes:
        """The event of one token."""
        return event(self._answer([_candidate(index, text)]))

    def finish(self, index: int, reason: FinishReason) -> bytes:
        """The event that ends a candidate."""
        return event(self._answer([self.choice(index, "", reason)]))

    def choice(self, index: int, text: str, reason: FinishReason) -> dict[str, Any]:
        """A candidate that has ended."""
        return _candidate(index, text) | {"finishReason": _REASONS[reason]}

    def usage_chunk(self, counts: dict[str, int]) -> bytes:
        """The event with the token counts."""
        return event(self.whole([], counts))

    def whole(self, choices: list[dict[str, Any]], counts: dict[str, int]) -> dict[str, Any]:
        """An answer that is not streamed."""
        told = {
            "promptTokenCount": counts["prompt_tokens"],
            "candidatesTokenCount": counts["completion_tokens"],
            "totalTokenCount": counts["total_tokens"],
        }
        return self._answer(choices) | {"usageMetadata": told}

    def error(self, refusal: Refusal) -> bytes:
        """The event that says that the answer failed."""
        return b"data: " + error_body(refusal) + b"\n\n"

    def _answer(self, candidates: list[dict[str, Any]]) -> dict[str, Any]:
        said = {"candidates": candidates} if candidates else {}
        return {**said, "modelVersion": self.model, "responseId": self.id}


def _candidate(index: int, text: str) -> dict[str, Any]:
    return {"index": index, "content": {"role": "model", "parts": [{"text": text}]}}
