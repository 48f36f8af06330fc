"""How OpenAI-shaped chunks are folded into a partial: chat completions and completions alike."""

import re

from proxy.core.partial import Partial, StreamError, safe_text
from proxy.core.usage import read_usage
from proxy.wire.chunks import Choice, Chunk, Message, NamedChunk, read_chunk, read_chunks, read_object

DONE = b"[DONE]"
MAX_ID = 256
"""Ids and model names longer than this are not taken from an upstream."""

_MAX_MESSAGE = 1000
_ID = re.compile("[!-~]{1,256}")
_LEGACY_CALL = -1
"""The index of the one `function_call` of older models, apart from tool calls."""


def usable_id(ident: str | None) -> str | None:
    """The upstream's id if it can name a generation in paths and records: visible ASCII of some length."""
    return ident if ident and _ID.fullmatch(ident) else None


def fold_events(data: list[bytes], partial: Partial) -> None:
    """Fold the data of events, all of those in one go that can be: what names the stream comes with the first one."""
    first = 0
    while first < len(data) and _needs_names(partial):
        fold_event(data[first], partial)
        first += 1
    last = len(data) - (data[-1] == DONE)
    some = data[first:last]
    chunks = read_chunks(some) if some and not partial.done else None
    if chunks is None:
        last = first
    else:
        _fold_chunks(chunks, some, partial)
    for each in data[last:]:
        fold_event(each, partial)


def _needs_names(partial: Partial) -> bool:
    return partial.upstream_model is None or partial.created is None


def fold_event(data: bytes, partial: Partial, *, is_error: bool = False) -> None:
    """Fold the data of one event; `is_error` says that the event calls itself one."""
    if partial.done:
        partial.trailing = True
        return
    chunk = read_chunk(data, named=_needs_names(partial))
    if chunk is not None:
        fold_chunk(chunk, data, partial, is_error=is_error)
    elif data.strip() == DONE:
        partial.done = True
    elif data.strip():  # empty data is some server's way to keep a connection alive
        partial.bad_events += 1


def _fold_chunks(chunks: list[Chunk], data: list[bytes], partial: Partial) -> None:
    """Fold chunks in order. Plain deltas, as nearly all are, wait for their like and are added as one text."""
    run: list[str] = []
    at = 0
    for chunk, each in zip(chunks, data, strict=True):
        text = _plain_text(chunk, at)
        if text is None:
            _add_run(run, at, partial)
            fold_chunk(chunk, each, partial)
            at = chunk.choices[0].index if chunk.choices else at
        else:
            run.append(text)
    _add_run(run, at, partial)


def _plain_text(chunk: Chunk, at: int) -> str | None:
    """The text of a chunk that has nothing but some text for choice `at`; None for any other."""
    choices = chunk.choices
    if not choices or len(choices) != 1 or chunk.usage is not None or chunk.error is not None:
        return None
    choice = choices[0]
    if choice.index != at or choice.finish_reason:
        return None
    delta = choice.delta or choice.message
    if delta is None:
        return choice.text or None
    if delta.reasoning_content or delta.tool_calls or delta.reasoning or delta.refusal or delta.function_call:
        return None
    return delta.content or None


def _add_run(run: list[str], at: int, partial: Partial) -> None:
    if run:
        partial.add_contents(at, run)
        run.clear()


def fold_chunk(chunk: Chunk, data: bytes, partial: Partial, *, is_error: bool = False) -> None:
    """Fold a chunk or an answer that was read from `data`."""
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
    one = chunk.choices[0].index if chunk.choices and len(chunk.choices) == 1 else None
    partial.note_usage(usage, final=not chunk.choices or partial.all_finished(), choice=one)
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
