"""How the events of OpenAI's Responses API, and whole responses, are folded into a partial.

All text is the partial's choice 0. Servers leave out much of what the API documents (numbers, indexes, most of the
response's fields): nothing is needed of an event but its type and its text.
"""

from collections.abc import Callable
from typing import Any, Final

from proxy.core.partial import Partial, StreamError, safe_text
from proxy.core.usage import Usage, read_usage
from proxy.wire.chunks import read_quickly
from proxy.wire.openai_fold import DONE, MAX_ID, usable_id
from proxy.wire.responses_calls import DELTAS, is_call, written
from proxy.wire.responses_outline import Outline, outline_of

ENDED: Final = {
    "response.completed": "completed",
    "response.incomplete": "incomplete",
    "response.failed": "failed",
    "response.cancelled": "cancelled",
}
"""The events that end a stream, and the reason to finish that they are."""
STATES: Final = frozenset({"response.created", "response.queued", "response.in_progress"})
ITEMS: Final = frozenset({"response.output_item.added", "response.output_item.done"})
TEXTS: Final = {
    "response.output_text.delta": "output_text",
    "response.audio.transcript.delta": "output_text",
    "response.refusal.delta": "refusal",
    "response.reasoning_text.delta": "reasoning_text",
    "response.reasoning_summary_text.delta": "summary_text",
}

_MAX_MESSAGE: Final = 1000


def fold_event(data: bytes, partial: Partial) -> None:
    """Fold the data of one event."""
    if partial.done:
        partial.trailing = True
    elif data.strip() == DONE:  # no part of the API, but some servers end every stream so
        partial.done = True
    elif (event := read_quickly(data)) is None:
        partial.bad_events += bool(data.strip())
    else:
        outline = outline_of(partial)
        outline.count(event.get("sequence_number"))
        _fold(event, len(data), partial, outline)


def _fold(event: dict[str, Any], size: int, partial: Partial, outline: Outline) -> None:
    kind = event.get("type")
    if not isinstance(kind, str):
        if event.get("error") is not None:
            _note_error(event["error"], partial)
    elif kind in TEXTS:
        _fold_text(event, TEXTS[kind], partial, outline)
    elif kind in DELTAS:
        if delta := _text(event, DELTAS[kind]):
            index = outline.place(event)
            outline.said.add(index)
            partial.add_tool_call(0, index, arguments=delta)
    elif kind in ITEMS:
        _fold_item(event, size, partial, outline)
    elif kind in STATES or kind in ENDED:
        _fold_response(event.get("response"), size, partial, ended=ENDED.get(kind))
    elif kind == "error":
        _note_error(event.get("error") or event, partial)


def _fold_text(event: dict[str, Any], kind: str, partial: Partial, outline: Outline) -> None:
    if delta := _text(event, "delta"):
        outline.grow(event, kind, len(delta))
        _ADD[kind](partial, delta)


_ADD: Final[dict[str, Callable[[Partial, str], None]]] = {
    "output_text": lambda partial, text: partial.add_content(0, text),
    "refusal": lambda partial, text: partial.add_refusal(0, text),
    "reasoning_text": lambda partial, text: partial.add_reasoning(0, text),
    "summary_text": lambda partial, text: partial.add_reasoning(0, text),
}


def _fold_item(event: dict[str, Any], size: int, partial: Partial, outline: Outline) -> None:
    item = event.get("item")
    if not isinstance(item, dict):
        return
    index = event.get("output_index")
    if type(index) is not int:
        index = outline.place({"item_id": item.get("id")}) if event.get("type") == "response.output_item.done" else None
    index = len(outline.items) if index is None else index
    if is_call(item):
        ident, name = _text(item, "call_id") or _text(item, "id"), _text(item, "name")
        if name == outline.items.get(index, {}).get("name"):
            name = ""
        arguments = "" if index in outline.said else written(item)
        if arguments:
            outline.said.add(index)
        partial.add_tool_call(0, index, ident=ident, name=name, arguments=arguments)
    outline.take_item(index, item, size)


def _fold_response(found: object, size: int, partial: Partial, *, ended: str | None) -> None:
    """Fold a response's own fields; with `ended` it is over."""
    if not isinstance(found, dict):
        found = {}
    outline_of(partial).take_fields(found, size)
    partial.upstream_id = partial.upstream_id or usable_id(_text(found, "id"))
    if (model := _text(found, "model")) and partial.upstream_model is None:
        partial.upstream_model = safe_text(model[:MAX_ID])
    created = found.get("created_at")
    if partial.created is None and isinstance(created, int | float) and 0 <= created < 1 << 53:
        partial.created = int(created)
    if ended is None:
        return
    if not partial.counted_characters:
        _fold_output(found.get("output"), size, partial)
    if (usage := _usage(found.get("usage"))) is not None:
        partial.note_usage(usage, final=True)
    if ended == "failed":
        _note_error(found.get("error"), partial)
    partial.finish(0, _reason(found) or ended)
    partial.terminal = True


def fold_whole(body: bytes, partial: Partial) -> None:
    """Fold a whole response, or an error in its place."""
    found = read_quickly(body)
    if found is None:
        partial.bad_events += 1
        return
    partial.ends_with_body = True
    if found.get("object") != "response":
        if found.get("error") is not None:
            _note_error(found["error"], partial)
        elif (usage := _usage(found.get("usage"))) is not None:  # all that was kept of a large one
            partial.note_usage(usage, final=True)
        return
    status = _text(found, "status")
    is_over = f"response.{status}" in ENDED
    _fold_response(found, len(body), partial, ended=status if is_over else None)
    partial.terminal = False  # only the end of the body says that it is whole


def _fold_output(output: object, size: int, partial: Partial) -> None:
    """Fold the items of a response that was not streamed, or whose server streams nothing but its end."""
    for index, item in enumerate(output if isinstance(output, list) else ()):
        if not isinstance(item, dict):
            continue
        _fold_item({"item": item, "output_index": index}, size, partial, outline_of(partial))
        for field, kind in (("summary", "summary_text"), ("content", "")):
            parts = item.get(field)
            for number, part in enumerate(parts if isinstance(parts, list) else ()):
                if isinstance(part, dict):
                    _fold_part(part, kind, index, number, partial)


def _fold_part(part: dict[str, Any], kind: str, index: int, number: int, partial: Partial) -> None:
    kind = kind or _text(part, "type")
    text = _text(part, "refusal") if kind == "refusal" else _text(part, "text")
    if kind in _ADD:
        event = {"output_index": index, "content_index": number, "summary_index": number, "delta": text}
        _fold_text(event, kind, partial, outline_of(partial))


def _reason(found: dict[str, Any]) -> str:
    details = found.get("incomplete_details")
    return _text(details, "reason") if isinstance(details, dict) else ""


def _usage(found: object) -> Usage | None:
    if not isinstance(found, dict):
        return read_usage(found)
    names = {"input_tokens": "prompt_tokens", "output_tokens": "completion_tokens"}
    renamed = {name: found.get(own) for own, name in names.items()}
    details = {f"{name}_details": found.get(f"{own}_details") for own, name in names.items()}
    return read_usage({**renamed, **details})


def _note_error(error: object, partial: Partial) -> None:
    """The first error stands."""
    if partial.error is None:
        found = error if isinstance(error, dict) else {"message": error}
        kind = _text(found, "type")
        partial.error = StreamError(
            message=safe_text(_text(found, "message")[:_MAX_MESSAGE]),
            type="" if kind == "error" else safe_text(kind[:MAX_ID]),
            code=safe_text(str(found.get("code") or "")[:MAX_ID]),
        )


def _text(found: dict[str, Any], key: str) -> str:
    value = found.get(key)
    return value if isinstance(value, str) else ""
