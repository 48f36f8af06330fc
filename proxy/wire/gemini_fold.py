"""How the answers of Gemini's `generateContent`, streamed or whole, are folded into a partial.

Each event of a stream is an answer of its own, with the next parts of each candidate and the counts so far.
"""

import json
from typing import Any, Final

import msgspec

from proxy.core.partial import Partial, StreamError, safe_text
from proxy.core.usage import Usage, count_in, read_usage
from proxy.wire.chunks import compact_json, read_object
from proxy.wire.openai_fold import DONE, MAX_ID, usable_id

_MAX_MESSAGE: Final = 1000
_DECODER: Final = msgspec.json.Decoder()
_COUNTS: Final = (
    *("promptTokenCount", "toolUsePromptTokenCount", "candidatesTokenCount", "thoughtsTokenCount"),
    "cachedContentTokenCount",
)
_BETWEEN: Final = " \t\r\n,["
"""What stands between the answers of a stream that came as one array."""


def read(data: bytes) -> dict[str, Any] | None:
    """A JSON object, or the first one of an array, as errors come sometimes; None when it is neither."""
    try:
        found = _DECODER.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return read_object(data)
    if isinstance(found, list) and found:
        found = found[0]
    return found if isinstance(found, dict) else None


def fold_event(data: bytes, partial: Partial) -> None:
    """Fold the data of one event."""
    if partial.done:
        partial.trailing = True
    elif data.strip() == DONE:  # no part of the API, but some gateways end every stream so
        partial.done = True
    elif (found := read(data)) is None:
        partial.bad_events += bool(data.strip())
    else:
        fold(found, partial)


def fold_bare(raw: bytes, partial: Partial) -> None:
    """Fold bytes of a stream that are no event: the API writes an error in its middle as bare JSON in several lines."""
    if b'"error"' in raw and (found := read(raw.strip())) is not None and found.get("error") is not None:
        note_error(found["error"], partial)


def fold_whole(body: bytes, partial: Partial) -> None:
    """Fold a whole answer: an object, or the array of all answers of a stream, as far as it came."""
    answers, whole = _answers(body)
    if not answers:
        partial.bad_events += 1
        return
    partial.ends_with_body = whole
    for each in answers:
        fold(each, partial)


def _answers(body: bytes) -> tuple[list[dict[str, Any]], bool]:
    """The objects of a body, one or those of an array; False when it is cut off in the middle of one."""
    text = body.decode(errors="replace")
    reader, at = json.JSONDecoder(), 0
    found: list[dict[str, Any]] = []
    while at < len(text):
        if text[at] in _BETWEEN:
            at += 1
            continue
        try:
            value, at = reader.raw_decode(text, at)
        except (ValueError, RecursionError):
            break
        if isinstance(value, dict):
            found.append(value)
    return found, text[at:].strip() == ("]" if text.lstrip().startswith("[") else "")


def fold(found: dict[str, Any], partial: Partial) -> None:
    """Fold one answer, be it an error."""
    if found.get("error") is not None:
        note_error(found["error"], partial)
        return
    partial.upstream_id = partial.upstream_id or usable_id(_text(found, "responseId"))
    if (model := _text(found, "modelVersion")) and partial.upstream_model is None:
        partial.upstream_model = safe_text(model[:MAX_ID])
    candidates = found.get("candidates")
    for place, candidate in enumerate(candidates if isinstance(candidates, list) else ()):
        if isinstance(candidate, dict):
            index = candidate.get("index")
            _fold_candidate(candidate, index if type(index) is int else place, partial)
    feedback = found.get("promptFeedback")
    if isinstance(feedback, dict) and (reason := _text(feedback, "blockReason")):
        partial.finish(0, reason)
    if "usageMetadata" in found:
        _fold_usage(found["usageMetadata"], partial)


def _fold_candidate(candidate: dict[str, Any], index: int, partial: Partial) -> None:
    partial.see(index)
    content = candidate.get("content")
    parts = content.get("parts") if isinstance(content, dict) else None
    for part in parts if isinstance(parts, list) else ():
        if isinstance(part, dict):
            _fold_part(part, index, partial)
    if reason := _text(candidate, "finishReason"):
        partial.finish(index, reason)


def _fold_part(part: dict[str, Any], index: int, partial: Partial) -> None:
    if text := _text(part, "text"):
        if part.get("thought") is True:
            partial.add_reasoning(index, text)
        else:
            partial.add_content(index, text)
    call, code = part.get("functionCall"), part.get("executableCode")
    if isinstance(call, dict):
        _add_call(index, partial, call, compact_json(call.get("args") or {}))
    if isinstance(code, dict):  # what the model has run while it answers; the result is not its own words
        _add_call(index, partial, {"name": "executableCode"}, _text(code, "code"))


def _add_call(index: int, partial: Partial, call: dict[str, Any], arguments: str) -> None:
    """A call comes whole, without a number."""
    choice = partial.choices.get(index)
    place = len(choice.tool_calls or ()) if choice else 0
    partial.add_tool_call(index, place, ident=_text(call, "id"), name=_text(call, "name"), arguments=arguments)


def _fold_usage(found: object, partial: Partial) -> None:
    usage = _usage(found)
    ended = partial.all_finished()
    if usage is None:
        return
    if usage.completion_tokens is None and ended and not partial.counted_characters:
        usage = Usage(usage.prompt_tokens, 0, usage.cached_tokens, usage.reasoning_tokens, usage.invalid)
    partial.note_usage(usage, final=ended)


def _usage(found: object) -> Usage | None:
    """The counts in our words: what tools gave back is prompt, what was thought is completion.

    The API leaves out what is 0. Without a count for the answer it is unknown here, as long as text may have come.
    """
    if not isinstance(found, dict):
        return read_usage(found)
    values = [found.get(name) for name in _COUNTS]
    prompt, tools, said, thought, cached = map(count_in, values)
    return Usage(
        None if prompt is None else prompt + (tools or 0),
        None if said is None and thought is None else (said or 0) + (thought or 0),
        cached,
        thought,
        any(value is not None and count_in(value) is None for value in values),
    )


def note_error(error: object, partial: Partial) -> None:
    """The first error stands."""
    if partial.error is None:
        found = error if isinstance(error, dict) else {"message": error}
        code = found.get("code")
        partial.error = StreamError(
            message=safe_text(_text(found, "message")[:_MAX_MESSAGE]),
            type=safe_text(_text(found, "status")[:MAX_ID]),
            code=safe_text(str(code)[:MAX_ID]) if isinstance(code, int | str) else "",
        )


def _text(found: dict[str, Any], key: str) -> str:
    value = found.get(key)
    return value if isinstance(value, str) else ""
