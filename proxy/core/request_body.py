"""The check of a model call's body on its way in: strict, so that we and the upstream read the same thing in it.

It must be one JSON object (RFC 8259) in UTF-8, no key twice, finite numbers, a boolean `stream`. What passes goes up as
it came. A body of some hundred kilobytes takes about a millisecond: larger ones belong into a thread.
"""

import json
import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from proxy.core.usage import MAX_COUNT

MAX_DEPTH = 200
"""Levels of nesting. JSON schemas of tools stay below 30; readers that recurse break somewhere above 900."""
MAX_CONTAINERS = 100_000
"""Objects and arrays in a body. The standard reader stops everything else while it makes them, also from a thread."""
MAX_VALUES = 400_000
"""Values in a body: more than the 300,000 tokens that an embeddings request may give as numbers."""
MAX_KEYS = 50_000
"""Keys in a body, of all objects together; making them costs more than all else."""
MAX_MODEL = 256
"""Characters of a model's name; it is stored, shown and may become a metric's label."""
MAX_USER = 512
"""Characters of an end user's name."""

MAX_TOKENS: Final = ("max_completion_tokens", "max_tokens", "max_output_tokens")
"""Where a request bounds its answer, in OpenAI's APIs; of several the first one counts."""

_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_STRING = re.compile(rb'"(?>[^"\\]+|\\.)*+(?:"|\Z)', re.DOTALL)
_SHOWN = 60


class BodyError(Exception):
    """The body breaks a rule: a stable code for programs, a sentence for people, and the field at fault."""

    def __init__(self, code: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.param = param


@dataclass(frozen=True, slots=True)
class ModelCall:
    """What the proxy itself reads in the body of a model call."""

    model: str | None
    stream: bool
    user: str | None
    include_usage: bool
    """Whether the client asked for the usage chunk."""
    running_usage: bool
    """Whether it asked for running totals in every chunk (`continuous_usage_stats` of vLLM and SGLang)."""
    n: int
    """How many choices were asked for."""
    max_tokens: int | None
    """The most completion tokens that it allows, of all choices; None: it names no bound that could be read."""
    body: dict[str, Any]
    """All of it, for dialects that translate. What goes upstream is the client's bytes, never this."""


def parse_model_call(raw: bytes) -> ModelCall:
    """Read and check the body of a model call.

    Raises:
        BodyError: `invalid_json`, `duplicate_key`, `invalid_type` or `invalid_value`; the answer to it is a 400.
    """
    body = parse_object(raw)
    stream = body.get("stream")
    if stream is not None and not isinstance(stream, bool):
        raise BodyError("invalid_type", "'stream' must be true or false.", "stream")
    options = body.get("stream_options")
    n = body.get("n")
    choices = n if type(n) is int and 0 < n <= MAX_COUNT else 1
    return ModelCall(
        model=name_in(body, "model", MAX_MODEL),
        stream=bool(stream),
        user=name_in(body, "user", MAX_USER),
        include_usage=isinstance(options, dict) and options.get("include_usage") is True,
        running_usage=isinstance(options, dict) and options.get("continuous_usage_stats") is True,
        n=choices,
        max_tokens=most_tokens(body, choices),
        body=body,
    )


def most_tokens(body: Mapping[str, Any], choices: int = 1) -> int | None:
    """The most completion tokens that a request allows, with so many choices; what is no positive number is none."""
    found = next((body[name] for name in MAX_TOKENS if body.get(name) is not None), None)
    if type(found) is not int or not 0 < found <= MAX_COUNT // choices:
        return None
    return found * choices


def parse_object(raw: bytes) -> dict[str, Any]:
    """Read a body that must be one strict JSON object.

    Raises:
        BodyError: `invalid_json` or `duplicate_key`.
    """
    text = _text(raw)
    _check_bulk(raw)
    try:
        body = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise BodyError("invalid_json", f"The body is not valid JSON: {error.msg} at {where}.") from None
    except RecursionError:
        raise _too_deep() from None
    except ValueError:  # the one other ValueError of the standard library's reader: Python's limit on digits
        raise BodyError("invalid_json", "The body has a number with too many digits.") from None
    if not isinstance(body, dict):
        raise BodyError("invalid_json", f"The body must be a JSON object, not {_KINDS[type(body)]}.")
    if raw.count(b"[") + raw.count(b"{") > MAX_DEPTH and nested_deeper(body, MAX_DEPTH):
        raise _too_deep()
    return body


_KINDS = {list: "an array", str: "a string", int: "a number", float: "a number", bool: "a boolean", type(None): "null"}


def _text(raw: bytes) -> str:
    if not raw.strip():
        raise BodyError("invalid_json", "The body is empty; it must be a JSON object.")
    if raw.startswith((b"\xef\xbb\xbf", b"\xfe\xff", b"\xff\xfe")) or b"\0" in raw[:4]:
        raise BodyError("invalid_json", "The body must be UTF-8 without a byte order mark.")
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise BodyError("invalid_json", f"The body is not valid UTF-8: byte {error.start} is wrong.") from None


def _check_bulk(raw: bytes) -> None:
    """Refuse a body of so many parts that reading it would stop every stream for longer than anybody should notice."""
    if not _is_bulky(raw):
        return
    if _is_bulky(_STRING.sub(b"", raw)):  # what is left without the texts, where such signs mean nothing
        bounds = f"{MAX_CONTAINERS} objects and arrays, {MAX_KEYS} keys, or {MAX_VALUES} values"
        raise BodyError("invalid_json", f"The body has more than {bounds}.")


def _is_bulky(raw: bytes) -> bool:
    containers = raw.count(b"[") + raw.count(b"{")
    return containers > MAX_CONTAINERS or raw.count(b":") > MAX_KEYS or raw.count(b",") > MAX_VALUES


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        (twice, _), *_ = Counter(key for key, _ in pairs).most_common(1)
        shown = json.dumps(twice[:_SHOWN])
        raise BodyError("duplicate_key", f"The key {shown} stands twice in one object.", shown.strip('"'))
    return found


def _number(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise BodyError("invalid_json", "The body has a number that is too large to be finite.")
    return number


def _constant(name: str) -> NoReturn:
    raise BodyError("invalid_json", f"The body has {name}, which is not JSON; numbers must be finite.")


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_float=_number, parse_constant=_constant)


def nested_deeper(found: dict[str, Any] | list[Any], levels: int) -> bool:
    """Whether a JSON value has more levels of objects and arrays than that; without recursion."""
    level: list[Any] = [found]
    for _ in range(levels):
        level = [
            child
            for parent in level
            for child in (parent.values() if isinstance(parent, dict) else parent)
            if isinstance(child, dict | list)
        ]
        if not level:
            return False
    return True


def _too_deep() -> BodyError:
    return BodyError("invalid_json", f"The body is nested too deeply; {MAX_DEPTH} levels are allowed.")


def name_in(body: dict[str, Any], key: str, most: int) -> str | None:
    """A field that names something, if it is there: a text of at most so many characters that can be shown.

    Raises:
        BodyError: `invalid_type` or `invalid_value`.
    """
    value = body.get(key)
    if value is None:
        return None
    if not isinstance(value, str):
        raise BodyError("invalid_type", f"'{key}' must be a string.", key)
    if len(value) > most:
        raise BodyError("invalid_value", f"'{key}' must have at most {most} characters.", key)
    if _UNPRINTABLE.search(value):
        raise BodyError("invalid_value", f"'{key}' must have no control characters or lone surrogates.", key)
    return value or None
