"""Edits to JSON that leave every other byte as it was written: order, spacing, spelling of numbers.

Those of requests are for bodies that `core.request_body` has let through: one JSON object, UTF-8, no key twice, not too
deep.
"""

import json
import re

from proxy.core.usage import UsageAsk

_DECODER = json.JSONDecoder()
_SPACE = re.compile(r"[ \t\n\r]*")


def with_stream_usage(raw: bytes, *, continuous: bool = False) -> bytes:
    """Ask for usage at the end of the stream, keeping the client's other stream options.

    `continuous` asks for a running total in every chunk too (vLLM). Stream options of a wrong type are left to the
    upstream to refuse.

    Raises:
        ValueError: the body is no JSON object.
    """
    return _edit(raw, {}, _options(UsageAsk.RUNNING if continuous else UsageAsk.FINAL))


def as_stream(raw: bytes, *, usage: UsageAsk) -> bytes:
    """Ask for a stream, whatever the client asked for; with so much of its usage.

    Raises:
        ValueError: the body is no JSON object.
    """
    return _edit(raw, {"stream": "true"}, _options(usage))


def _options(usage: UsageAsk) -> dict[str, str]:
    asked = {UsageAsk.FINAL: "include_usage", UsageAsk.RUNNING: "continuous_usage_stats"}
    return {option: "true" for ask, option in asked.items() if ask <= usage}


def without_member(raw: bytes, name: str, instead: str | None = None) -> bytes:
    """A JSON object without one of its members, or with `instead` as its value; as it was where it has none.

    Raises:
        ValueError: it is no JSON object in UTF-8.
    """
    text = raw.decode()
    spans, closing = _members(text)
    if name not in spans:
        return raw
    start, end = spans[name]
    if instead is not None:
        return (text[:start] + instead + text[end:]).encode()
    before = max((span[1] for span in spans.values() if span[1] <= start), default=None)
    after = _skip(text, end)
    if before is None:  # the first takes the comma behind it along, any other the one in front of it
        before = _skip(text, text.index("{") + 1)
        end = after if after == closing else _skip(text, after + 1)
    return (text[:before] + text[end:]).encode()


def _edit(raw: bytes, values: dict[str, str], stream_options: dict[str, str]) -> bytes:
    text = raw.decode()
    spans, closing = _members(text)
    start, end = spans.get("stream_options", (0, 0))
    options = text[start:end] if text[start:end] not in ("", "null") else "{}"
    if stream_options and options.startswith("{"):
        values = values | {"stream_options": _with_members(options, *_members(options), stream_options)}
    return _with_members(text, spans, closing, values).encode()


def _with_members(text: str, spans: dict[str, tuple[int, int]], closing: int, values: dict[str, str]) -> str:
    """The object with these members: in place of the ones of that name, else at its end."""
    added = [f"{json.dumps(key)}:{value}" for key, value in values.items() if key not in spans]
    if added:
        text = f"{text[:closing]}{',' if spans else ''}{','.join(added)}{text[closing:]}"
    for (start, end), key in sorted(((spans[key], key) for key in values if key in spans), reverse=True):
        text = text[:start] + values[key] + text[end:]
    return text


def _members(text: str) -> tuple[dict[str, tuple[int, int]], int]:
    """Where each member's value stands in the text of an object, and where its closing brace does."""
    at = _skip(text, 0)
    if text[at : at + 1] != "{":
        raise ValueError("not a JSON object")
    spans: dict[str, tuple[int, int]] = {}
    at = _skip(text, at + 1)
    while text[at : at + 1] != "}":
        key, at = _DECODER.raw_decode(text, at)
        at = _skip(text, _expect(text, _skip(text, at), ":"))
        _, end = _DECODER.raw_decode(text, at)
        spans[key] = (at, end)
        at = _skip(text, end)
        if text[at : at + 1] != "}":
            at = _skip(text, _expect(text, at, ","))
    return spans, at


def _expect(text: str, at: int, sign: str) -> int:
    if text[at : at + 1] != sign:
        raise ValueError(f"not a JSON object: {sign!r} expected at character {at}")
    return at + 1


def _skip(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at
