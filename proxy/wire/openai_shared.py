"""What chat completions and completions have in common: chunks as SSE data, `[DONE]`, usage on demand."""

import json
import re
from abc import ABC, abstractmethod
from typing import Any

from proxy.core import sse
from proxy.core.partial import Partial, StreamError, safe_text
from proxy.core.usage import Usage, read_usage
from proxy.wire.body_edit import with_stream_usage
from proxy.wire.chunks import Choice, Chunk, Message, NamedChunk, read_chunk, read_object

DONE = b"[DONE]"
MAX_ID = 256
"""Ids and model names longer than this are not taken from an upstream."""

_MAX_MESSAGE = 1000
_NO_CHOICES = re.compile(rb'"choices"\s*:\s*\[\s*\]')
_ID = re.compile("[!-~]{1,256}")
_LEGACY_CALL = -1
"""The index of the one `function_call` of older models, apart from tool calls."""


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
                _fold_event(event.data, partial, is_error=event.type == "error")
        else:
            for each in data:
                _fold_event(each, partial)
        partial.at_start = False

    def fold_answer(self, body: bytes, partial: Partial) -> None:
        """See `Wire`."""
        chunk = read_chunk(body, named=True)
        if chunk is None:
            partial.bad_events += 1
            return
        partial.ends_with_body = True
        _fold_chunk(chunk, body, partial)

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

    def error_frame(self, message: str, type_: str, code: str) -> bytes:
        """See `Wire`."""
        return _frame({"error": {"message": message, "type": type_, "param": None, "code": code}})

    def ask_for_usage(self, body: bytes, *, continuous: bool = False) -> bytes:
        """See `Wire`."""
        return with_stream_usage(body, continuous=continuous)

    def is_extra_usage(self, data: bytes) -> bool:
        """See `Wire`: no choices, and a usage object. Most chunks are told apart by their bytes alone."""
        if b'"usage"' not in data or not _NO_CHOICES.search(data):
            return False
        found = read_object(data)
        return found is not None and found.get("choices") == [] and isinstance(found.get("usage"), dict)

    def without_extra_usage(self, block: bytes) -> bytes:
        """See `Wire`. With usage asked for, every other chunk has `"usage":null`: that stays, clients ignore it."""
        if b'"usage"' not in block or not _NO_CHOICES.search(block):
            return block
        return b"".join(
            raw
            for raw, counts in sse.slices(block)
            if not (counts and self.is_extra_usage(b"".join(event.data for event in sse.events(raw))))
        )

    def peek_id(self, block: bytes) -> str | None:
        """See `Wire`. Some upstreams begin with a chunk whose id is empty; then a later one names it."""
        for event in sse.events(block, at_start=True):
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


def usable_id(ident: str | None) -> str | None:
    """The upstream's id if it can name a generation in paths and records: visible ASCII of some length."""
    return ident if ident and _ID.fullmatch(ident) else None


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


def _fold_event(data: bytes, partial: Partial, *, is_error: bool = False) -> None:
    if partial.done:
        partial.trailing = True
        return
    chunk = read_chunk(data, named=partial.upstream_model is None or partial.created is None)
    if chunk is not None:
        _fold_chunk(chunk, data, partial, is_error=is_error)
    elif data.strip() == DONE:
        partial.done = True
    elif data.strip():  # empty data is some server's way to keep a connection alive
        partial.bad_events += 1


def _fold_chunk(chunk: Chunk, data: bytes, partial: Partial, *, is_error: bool = False) -> None:
    choices = chunk.choices
    if choices:
        for choice in choices:
            _fold_choice(choice, partial)
    if isinstance(chunk, NamedChunk):
        _fold_names(chunk, partial)
    if chunk.usage is not None:
        _fold_usage(chunk, partial)
    if chunk.error is not None:
        _note_error(chunk.error, partial)
    elif choices is None and (is_error or b'"error"' in data):
        found = read_object(data) or {}
        if is_error or found.get("object") == "error":
            _note_error(found, partial)


def _fold_names(chunk: NamedChunk, partial: Partial) -> None:
    partial.upstream_id = partial.upstream_id or usable_id(chunk.id)
    if chunk.model and partial.upstream_model is None:
        partial.upstream_model = safe_text(chunk.model[:MAX_ID])
    if partial.created is None and chunk.created is not None and chunk.created >= 0:
        partial.created = chunk.created


def _fold_choice(choice: Choice, partial: Partial) -> None:
    index = choice.index
    message = choice.delta or choice.message
    if message is None:
        text = choice.text
    else:
        text = message.content
        if message.reasoning_content or message.tool_calls or message.reasoning or message.refusal:
            _fold_rest(index, message, partial)
        if legacy := message.function_call:
            partial.add_tool_call(index, _LEGACY_CALL, name=legacy.name or "", arguments=legacy.arguments or "")
    if text:
        partial.add_content(index, text)
    else:
        partial.see(index)
    if choice.finish_reason:
        partial.finish(index, choice.finish_reason)


def _fold_rest(index: int, message: Message, partial: Partial) -> None:
    if reasoning := message.reasoning_content or message.reasoning:
        partial.add_reasoning(index, reasoning)
    if message.refusal:
        partial.add_refusal(index, message.refusal)
    for place, call in enumerate(message.tool_calls or ()):
        function, custom = call.function, call.custom
        partial.add_tool_call(
            index,
            place if call.index is None else call.index,
            ident=call.id or "",
            name=(function and function.name) or (custom and custom.name) or "",
            arguments=(function and function.arguments) or (custom and custom.input) or "",
        )


def _fold_usage(chunk: Chunk, partial: Partial) -> None:
    usage = read_usage(chunk.usage)
    if usage is None:
        return
    partial.note_usage(usage, final=not chunk.choices or partial.all_finished())
    if chunk.choices == []:
        partial.usage_chunk = True


def _note_error(error: object, partial: Partial) -> None:
    """The first error stands. It comes as an object, or, from some servers, as a bare text."""
    if partial.error is None:
        found = error if isinstance(error, dict) else {"message": error}
        partial.error = StreamError(
            message=_words(found.get("message"), _MAX_MESSAGE),
            type=_words(found.get("type"), MAX_ID),
            code=_words(found.get("code"), MAX_ID),
        )


def _words(value: object, most: int) -> str:
    return safe_text(str(value)[:most]) if isinstance(value, str | int) else ""
