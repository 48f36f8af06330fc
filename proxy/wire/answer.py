"""Folding a stream into the non-streaming answer that the client asked for (chat completions and completions)."""

import json
from typing import Any

import msgspec

from proxy.core import sse
from proxy.core.request_body import MAX_DEPTH, nested_deeper
from proxy.wire.chunks import read_object

MAX_ANSWER = 8 << 20
"""Characters kept of one answer by default."""

_NEW = 64
"""What a new object, list or member counts beside its text."""
_SET = frozenset({"id", "type", "role"})
"""Strings that a server may send again whole; all other strings of a delta are pieces of one text."""
_PADDING = "obfuscation"
"""OpenAI's random filler against traffic analysis; it is no part of an answer."""
_FIRST = ("id", "object", "created", "model")
_DECODER = msgspec.json.Decoder()


class AnswerTooLargeError(Exception):
    """The answer is larger than what may be kept of it."""


class _Pieces(list[str]):
    """A text that is still growing."""


class _Calls(dict[int, dict[str, Any]]):
    """Tool calls by their index."""


class AnswerFold:
    """Takes the events of one stream, and builds the answer that the same server gives without streaming.

    `error` is what the upstream said when it failed on the way, `done` whether `[DONE]` came. Whether the answer is
    whole is for `Partial.complete` to say.
    """

    def __init__(self, limit: int = MAX_ANSWER) -> None:
        self._room = limit
        self._top: dict[str, Any] = {}
        self._choices: dict[int, dict[str, Any]] = {}
        self._at_start = True
        self.error: Any = None
        self.done = False

    def feed(self, block: bytes) -> None:
        """Take whole SSE events. What is no JSON object, or is nested absurdly, is passed over.

        Raises:
            AnswerTooLargeError: the answer grew beyond the limit.
        """
        data = sse.plain_data(block)
        if data is None:
            data = [event.data for event in sse.events(block, at_start=self._at_start)]
        self._at_start = self._at_start and not block
        for each in data:
            if self.done:
                return
            if each.strip() == b"[DONE]":
                self.done = True
            else:
                self._take(read_shallow(each))

    def answer(self) -> bytes:
        """The answer as JSON."""
        top = dict(self._top)
        usage = top.pop("usage", None)
        found: dict[str, Any] = {key: top.pop(key) for key in _FIRST if key in top}
        if found.get("object") in (None, "chat.completion.chunk"):
            found["object"] = "chat.completion"
        found["choices"] = [_finished(self._choices[index]) for index in sorted(self._choices)]
        if usage is not None:
            found["usage"] = usage
        return written(found | top)

    def _take(self, chunk: dict[str, Any]) -> None:
        choices = chunk.pop("choices", None)
        for choice in choices if isinstance(choices, list) else ():
            if isinstance(choice, dict):
                self._take_choice(choice)
        if error := chunk.pop("error", None):
            self.error = self.error or error
        self._take_last(self._top, chunk)

    def _take_choice(self, choice: dict[str, Any]) -> None:
        index = choice.pop("index", 0)
        index = index if type(index) is int else 0
        if index not in self._choices:
            self._grow(_NEW)
            self._choices[index] = {"index": index}
        found = self._choices[index]
        message, delta = choice.pop("message", None), choice.pop("delta", None)
        pieces: dict[str, Any] = {key: choice.pop(key) for key in ("text", "logprobs") if key in choice}
        for each in (message, delta):
            if isinstance(each, dict):
                pieces["message"] = each
        self._merge(found, pieces)
        self._take_last(found, choice)

    def _take_last(self, into: dict[str, Any], found: dict[str, Any]) -> None:
        """Facts that stand in every chunk: the last one that is not null."""
        for key, value in found.items():
            if key == _PADDING or (key in into and (value is None or into[key] == value)):
                continue
            self._grow(_weight(value) + _NEW - (_weight(into[key]) if key in into else 0))
            into[key] = value

    def _merge(self, into: dict[str, Any], delta: dict[str, Any]) -> None:
        """Pieces: texts and lists grow at their end, objects are merged, anything else is the last that came."""
        for key, value in delta.items():
            if key == _PADDING:
                continue
            if key not in into:
                self._grow(_NEW)
                into[key] = None
            if isinstance(value, str) and key not in _SET:
                self._add_text(into, key, value)
            elif isinstance(value, dict):
                if type(into[key]) is not dict:
                    into[key] = {}
                self._merge(into[key], value)
            elif isinstance(value, list):
                self._add_items(into, key, value)
            elif value not in (None, ""):
                self._grow(_weight(value))
                into[key] = value

    def _add_text(self, into: dict[str, Any], key: str, text: str) -> None:
        pieces = into[key]
        if not isinstance(pieces, _Pieces):
            pieces = into[key] = _Pieces()
        if key == "name" and "".join(pieces) == text:
            return  # some servers repeat a tool's name in each of its deltas
        self._grow(len(text))
        pieces.append(text)

    def _add_items(self, into: dict[str, Any], key: str, items: list[Any]) -> None:
        if key != "tool_calls":
            self._grow(_weight(items))
            if type(into[key]) is list:
                into[key] += items
            else:
                into[key] = items
            return
        calls = into[key]
        if not isinstance(calls, _Calls):
            calls = into[key] = _Calls()
        for place, item in enumerate(items):
            if isinstance(item, dict):
                index = item.pop("index", place)
                self._grow(0 if index in calls else _NEW)
                self._merge(calls.setdefault(index if type(index) is int else place, {}), item)

    def _grow(self, size: int) -> None:
        self._room -= size
        if self._room < 0:
            raise AnswerTooLargeError


def read_shallow(data: bytes) -> dict[str, Any]:
    """A JSON object; an empty one when it is none, or nested absurdly."""
    try:
        found = _DECODER.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        found = read_object(data)
    if not isinstance(found, dict):
        return {}
    deep = data.count(b"[") + data.count(b"{") > MAX_DEPTH and nested_deeper(found, MAX_DEPTH)
    return {} if deep else found


def _finished(choice: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = _plain(choice)
    order: dict[str, Any] = {"index": found.pop("index")}
    if "text" in found:
        order["text"] = found.pop("text") or ""
    else:
        message = found.pop("message", None) or {}
        content = message.pop("content", None)
        called = "tool_calls" in message or "function_call" in message
        role = message.pop("role", None) or "assistant"
        order["message"] = {"role": role, "content": None if called and not content else content} | message
    if "logprobs" in found:
        order["logprobs"] = found.pop("logprobs")
    return order | {"finish_reason": found.pop("finish_reason", None)} | found


def _plain(value: Any) -> Any:
    match value:
        case _Pieces():
            return "".join(value)
        case _Calls():
            return [_plain(value[index]) for index in sorted(value)]
        case dict():
            return {key: _plain(each) for key, each in value.items()}
        case _:
            return value


def written(found: dict[str, Any]) -> bytes:
    """An answer as JSON that every reader takes."""
    try:
        return msgspec.json.encode(found)
    except (ValueError, OverflowError, msgspec.MsgspecError):
        # Lone surrogates or huge integers: the standard library writes both, and what is not finite becomes null.
        finite = json.loads(json.dumps(found), parse_constant=lambda _: None)
        return json.dumps(finite, separators=(",", ":")).encode()


def _weight(value: Any) -> int:
    match value:
        case str():
            return len(value)
        case dict():
            return sum(_NEW + len(key) + _weight(each) for key, each in value.items())
        case list():
            return sum(_NEW + _weight(each) for each in value)
        case _:
            return 0
