"""What chat completions and completions have in common: chunks as SSE data, `[DONE]`, usage on demand."""

import json
from abc import ABC, abstractmethod
from typing import Any

from proxy.core import sse
from proxy.core.partial import Partial
from proxy.core.usage import Usage
from proxy.wire.body_edit import with_stream_usage
from proxy.wire.chunks import NamedChunk, read_chunk, read_object
from proxy.wire.openai_fold import DONE, fold_chunk, fold_event, fold_events, usable_id
from proxy.wire.usage_member import USAGE, has_no_choices, without_running_usage


class OpenAIWire(ABC):
    """The common half; the two formats add their name and their chunks."""

    name: str
    _object: str

    def fold(self, block: bytes, partial: Partial) -> None:
        """See `Wire`. A plain block is split at once; anything else is read line by line."""
        if not block:
            return
        data = sse.plain_data(block)
        if data is None:
            for event in sse.events(block, at_start=partial.at_start):
                fold_event(event.data, partial, is_error=event.type == "error")
        else:
            fold_events(data, partial)
        partial.at_start = False

    def fold_answer(self, body: bytes, partial: Partial) -> None:
        """See `Wire`."""
        chunk = read_chunk(body, named=True)
        if chunk is None:
            partial.bad_events += 1
            return
        partial.ends_with_body = True
        fold_chunk(chunk, body, partial)

    def closing(
        self,
        partial: Partial,
        *,
        finish_reason: str,
        usage: Usage | None,
        comment: str,
        answer_id: str = "",
        model: str = "",
        created: int = 0,
    ) -> bytes:
        """See `Wire`. A stream whose `[DONE]` already came needs no closing."""
        if partial.done:
            return b""
        head: dict[str, Any] = {
            "id": partial.upstream_id or answer_id,
            "object": self._object,
            "created": created if partial.created is None else partial.created,
            "model": partial.upstream_model or model,
        }
        open_choices = sorted(set(partial.choices or (0,)) - set(partial.finish_reasons))
        frames = [sse.comment(comment)]
        frames += [_frame(head | {"choices": [self._end_of(choice, finish_reason)]}) for choice in open_choices]
        if usage is not None and not partial.usage_chunk:
            frames.append(_frame(head | {"choices": [], "usage": usage_object(usage)}))
        frames.append(sse.encode_event(DONE))
        return b"".join(frames)

    def error_frame(self, partial: Partial, message: str, type_: str, code: str) -> bytes:  # noqa: ARG002 a chunk of its own
        """See `Wire`."""
        return _frame({"error": {"message": message, "type": type_, "param": None, "code": code}})

    def ask_for_usage(self, body: bytes, *, continuous: bool = False) -> bytes:
        """See `Wire`."""
        return with_stream_usage(body, continuous=continuous)

    def countable(self, body: bytes) -> bytes:
        """See `Wire`."""
        return body

    def is_extra_usage(self, data: bytes) -> bool:
        """See `Wire`: no choices, and a usage object. Most chunks are told apart by their bytes alone."""
        if USAGE not in data or not has_no_choices(data):
            return False
        found = read_object(data)
        return found is not None and found.get("choices") == [] and isinstance(found.get("usage"), dict)

    def without_extra_usage(self, block: bytes) -> bytes:
        """See `Wire`. With usage asked for, every other chunk has `"usage":null`: that stays, clients ignore it."""
        if USAGE not in block or not has_no_choices(block):
            return block
        return b"".join(
            raw
            for raw, counts in sse.slices(block)
            if not (counts and self.is_extra_usage(b"".join(event.data for event in sse.events(raw))))
        )

    def without_running_usage(self, block: bytes, *, null: bool) -> bytes:
        """See `Wire`."""
        return without_running_usage(block, null=null)

    def peek_id(self, block: bytes) -> str | None:
        """See `Wire`. Some upstreams begin with a chunk whose id is empty; then a later one names it."""
        first = block[: block.find(b"\n\n") + 2]  # nearly always that names it, and the block may have hundreds
        for part in (first, block):
            for event in sse.events(part, at_start=True):
                chunk = None if event.data == DONE else read_chunk(event.data, named=True)
                if isinstance(chunk, NamedChunk) and (ident := usable_id(chunk.id)):
                    return ident
        return None

    def is_done(self, block: bytes) -> bool:
        """See `Wire`."""
        if DONE not in block:
            return False
        found = sse.events(block, at_start=True)
        return bool(found) and found[-1].data.strip() == DONE

    @abstractmethod
    def _end_of(self, choice: int, finish_reason: str) -> dict[str, Any]:
        """The last entry of a choice, in the format's shape."""


def usage_object(usage: Usage) -> dict[str, Any]:
    """Usage as OpenAI writes it; unknown counts are null, unknown details left out."""
    found: dict[str, Any] = {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
    }
    if usage.cached_tokens is not None:
        found["prompt_tokens_details"] = {"cached_tokens": usage.cached_tokens}
    if usage.reasoning_tokens is not None:
        found["completion_tokens_details"] = {"reasoning_tokens": usage.reasoning_tokens}
    return found


def _frame(found: dict[str, Any]) -> bytes:
    return sse.encode_event(json.dumps(found, separators=(",", ":")).encode())
