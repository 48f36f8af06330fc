"""How the events of Anthropic's Messages API, and whole messages, are folded into a partial.

All text is the partial's choice 0; blocks of text follow each other without anything between them.
"""

from dataclasses import dataclass, field
from typing import Any, Final

from proxy.core.partial import Partial, StreamError, safe_text
from proxy.core.usage import Usage, count_in, read_usage
from proxy.wire.chunks import compact_json, read_quickly
from proxy.wire.openai_fold import DONE, MAX_ID, usable_id

MOST_BLOCKS: Final = 512
"""Open blocks that are told apart; the API opens one at a time."""

_COUNTS: Final = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
_MAX_MESSAGE: Final = 1000


@dataclass(slots=True)
class Blocks:
    """How far a message is built: whether it began, and which of its blocks are open, in the order of their start."""

    begun: bool = False
    open: dict[int, None] = field(default_factory=dict)


def blocks_of(partial: Partial) -> Blocks:
    """The blocks of the message that is folded into a partial."""
    found = partial.outline
    if not isinstance(found, Blocks):
        found = partial.outline = Blocks()
    return found


def fold_event(data: bytes, partial: Partial) -> None:
    """Fold the data of one event. Kinds that are not known here are passed over, as the API asks of its clients."""
    if partial.done:
        partial.trailing = True
    elif data.strip() == DONE:  # no part of the API, but some servers end every stream so
        partial.done = True
    elif (event := read_quickly(data)) is None:
        partial.bad_events += bool(data.strip())
    else:
        _fold(event, partial)


def fold_whole(body: bytes, partial: Partial) -> None:
    """Fold a whole message, or an error in its place."""
    found = read_quickly(body)
    if found is None:
        partial.bad_events += 1
        return
    partial.ends_with_body = True
    if found.get("error") is not None:
        _note_error(found["error"], partial)
    else:
        _fold_message(found, partial)
        _note_usage(found.get("usage"), partial, final=True)
        _finish(found, partial)


def _fold(event: dict[str, Any], partial: Partial) -> None:
    match event.get("type"):
        case "content_block_delta":
            _fold_delta(_object(event, "delta"), _index(event, partial), partial)
        case "content_block_start":
            _fold_block_start(_object(event, "content_block"), _index(event, partial), partial)
        case "content_block_stop":
            blocks_of(partial).open.pop(_index(event, partial), None)
        case "message_start":
            _fold_start(_object(event, "message"), partial)
        case "message_delta":
            ended = _finish(_object(event, "delta"), partial)
            _note_usage(event.get("usage"), partial, final=ended)
        case "message_stop":
            partial.terminal = True
            partial.end_usage()
        case kind if kind == "error" or (not isinstance(kind, str) and event.get("error") is not None):
            _note_error(event.get("error"), partial)


def _fold_start(message: dict[str, Any], partial: Partial) -> None:
    blocks_of(partial).begun = True
    _fold_message(message, partial)
    usage = _usage(message.get("usage"))
    if usage is not None:
        # The output's count here is only where it starts. A prompt of 0 tokens stands for one not counted yet.
        known = Usage(usage.prompt_tokens or None, None, usage.cached_tokens, None, usage.invalid)
        partial.note_usage(known, final=False)


def _fold_message(message: dict[str, Any], partial: Partial) -> None:
    partial.see(0)
    partial.upstream_id = partial.upstream_id or usable_id(_text(message, "id"))
    if (model := _text(message, "model")) and partial.upstream_model is None:
        partial.upstream_model = safe_text(model[:MAX_ID])
    content = message.get("content")
    for index, block in enumerate(content if isinstance(content, list) else ()):
        if isinstance(block, dict):
            _fold_block(block, index, partial)


def _fold_block_start(block: dict[str, Any], index: int, partial: Partial) -> None:
    blocks = blocks_of(partial)
    if len(blocks.open) < MOST_BLOCKS:
        blocks.open[index] = None
    _fold_block(block, index, partial)


def _fold_block(block: dict[str, Any], index: int, partial: Partial) -> None:
    """A block, whole or just begun. Of the tools that the server runs the call counts, its result does not."""
    kind = _text(block, "type")
    if kind == "text":
        _add(partial, "text", _text(block, "text"))
    elif kind == "thinking":
        _add(partial, "thinking", _text(block, "thinking"))
    elif kind.endswith("tool_use"):
        given = block.get("input")
        partial.add_tool_call(
            0,
            index,
            ident=_text(block, "id"),
            name=_text(block, "name"),
            arguments=compact_json(given) if given else "",
        )


def _fold_delta(delta: dict[str, Any], index: int, partial: Partial) -> None:
    match delta.get("type"):
        case "text_delta":
            _add(partial, "text", _text(delta, "text"))
        case "thinking_delta":
            _add(partial, "thinking", _text(delta, "thinking"))
        case "input_json_delta":
            if arguments := _text(delta, "partial_json"):
                partial.add_tool_call(0, index, arguments=arguments)


def _add(partial: Partial, kind: str, text: str) -> None:
    if text and kind == "text":
        partial.add_content(0, text)
    elif text:
        partial.add_reasoning(0, text)


def _finish(found: dict[str, Any], partial: Partial) -> bool:
    """Note the reason to stop; False when there is none yet."""
    reason = _text(found, "stop_reason")
    if reason:
        partial.finish(0, reason)
    return bool(reason)


def _note_usage(found: object, partial: Partial, *, final: bool) -> None:
    usage = _usage(found)
    if usage is not None:
        partial.note_usage(usage, final=final)


def _usage(found: object) -> Usage | None:
    """The counts in our words: the prompt is all of it, that is what was read, written to the cache and taken from it.

    What was taken from the cache is `cached_tokens`; what was written to it has no count of its own.
    """
    if not isinstance(found, dict):
        return read_usage(found)
    details = found.get("output_tokens_details")
    values = [found.get(name) for name in _COUNTS]
    values.append(details.get("thinking_tokens") if isinstance(details, dict) else None)
    prompt, output, taken, written, thought = map(count_in, values)
    if prompt is not None:
        prompt += (taken or 0) + (written or 0)
    invalid = any(value is not None and count_in(value) is None for value in values)
    return Usage(prompt, output, taken, thought, invalid)


def _note_error(error: object, partial: Partial) -> None:
    """The first error stands."""
    if partial.error is None:
        found = error if isinstance(error, dict) else {"message": error}
        partial.error = StreamError(
            message=safe_text(_text(found, "message")[:_MAX_MESSAGE]), type=safe_text(_text(found, "type")[:MAX_ID])
        )


def _index(event: dict[str, Any], partial: Partial) -> int:
    """The block that an event is about; of a server that does not say it, the one that was opened last."""
    index = event.get("index")
    return index if type(index) is int else next(reversed(blocks_of(partial).open), 0)


def _object(found: dict[str, Any], key: str) -> dict[str, Any]:
    value = found.get(key)
    return value if isinstance(value, dict) else {}


def _text(found: dict[str, Any], key: str) -> str:
    value = found.get(key)
    return value if isinstance(value, str) else ""
