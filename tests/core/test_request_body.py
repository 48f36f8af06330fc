import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.request_body import MAX_DEPTH, BodyError, nested_deeper, parse_model_call, parse_object


def refused(raw: bytes) -> BodyError:
    """The error that a body gets."""
    with pytest.raises(BodyError) as caught:
        parse_model_call(raw)
    return caught.value


def test_what_is_read() -> None:
    """Model, stream, user, the usage option and the number of choices are read; the rest stays in the body."""
    call = parse_model_call(
        b'{"model":"m","stream":true,"user":"u","stream_options":{"include_usage":true},"n":3,"temperature":1.50}'
    )
    assert (call.model, call.stream, call.user, call.include_usage, call.n) == ("m", True, "u", True, 3)
    assert call.body["temperature"] == 1.5


@pytest.mark.parametrize("raw", [b"{}", b' {"model":null,"stream":null,"user":"","n":null,"stream_options":null}\n'])
def test_defaults(raw: bytes) -> None:
    """Missing and null mean: no model, no stream, no user, no usage chunk, one choice."""
    call = parse_model_call(raw)
    assert (call.model, call.stream, call.user, call.include_usage, call.n) == (None, False, None, False, 1)


@pytest.mark.parametrize(
    ("fields", "most"),
    [
        ({"max_completion_tokens": 5, "max_tokens": 9, "max_output_tokens": 11}, 5),
        ({"max_completion_tokens": None, "max_tokens": 9}, 9),
        ({"max_output_tokens": 11}, 11),
        ({"max_tokens": 9, "n": 3}, 27),
        ({"max_tokens": 0}, None),
        ({"max_tokens": -1}, None),
        ({"max_tokens": True}, None),
        ({"max_tokens": "9"}, None),
        ({"max_tokens": 1 << 60}, None),
        ({"max_tokens": 1 << 53, "n": 2}, None),
        ({"max_tokens": 9, "n": 1 << 70}, 9),
        ({}, None),
    ],
)
def test_the_most_tokens(fields: dict[str, Any], most: int | None) -> None:
    """The bound of an answer is read as the API means it, for all choices; what is no such number is unknown."""
    assert parse_model_call(json.dumps(fields).encode()).max_tokens == most


@pytest.mark.parametrize("stream", ["1", "0", '"true"', "[]", "{}", "1.0"])
def test_stream_must_be_a_boolean(stream: str) -> None:
    """C23: anything but true, false and null is refused, and the field is named."""
    error = refused(f'{{"stream":{stream}}}'.encode())
    assert (error.code, error.param) == ("invalid_type", "stream")


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("model", 7, "invalid_type"),
        ("user", {}, "invalid_type"),
        ("model", "m" * 257, "invalid_value"),
        ("user", "u" * 513, "invalid_value"),
        ("user", "a\nb", "invalid_value"),
        ("user", "a\x7f", "invalid_value"),
        ("user", "a\u2028", "invalid_value"),
        ("model", "a\ud800", "invalid_value"),
        ("model", "a\0", "invalid_value"),
    ],
)
def test_names_must_be_fit_to_store(field: str, value: object, code: str) -> None:
    """A model or user that is no short printable text is refused, and the field is named."""
    error = refused(json.dumps({field: value}).encode())
    assert (error.code, error.param) == (code, field)
    assert field in error.message


def test_names_of_people_anywhere_are_taken() -> None:
    """Letters, spaces and signs of any script make a name."""
    assert parse_model_call('{"user":"山田\u3000太郎 😀"}'.encode()).user == "山田\u3000太郎 😀"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b" \n",
        b"[]",
        b'"x"',
        b"1",
        b"1.5",
        b"true",
        b"null",
        b"{",
        b"{'a':1}",
        b'{"a":1,}',
        b'{"a":1} x',
        b'{"a":1}{}',
        b'{"a":01}',
        b'{"a":.5}',
        b'{"a":+1}',
        b'{"a":"\n"}',
        b'{"a":"\\x"}',
        b'{"a":NaN}',
        b'{"a":-Infinity}',
        b'{"a":1e999}',
        b'{"a":-1e999}',
        b'{"a":' + b"1" * 5000 + b"}",
        b'{"a":"\xff"}',
        b'{"a":"\xed\xa0\x80"}',
        b"\xef\xbb\xbf{}",
        '{"a":1}'.encode("utf-16"),
        '{"a":1}'.encode("utf-16-le"),
        '{"a":1}'.encode("utf-16-be"),
        '{"a":1}'.encode("utf-32"),
        b"//\n{}",
        b'{"a":1}\0',
    ],
)
def test_what_is_not_strict_json_is_refused(raw: bytes) -> None:
    """C20, C21, C24: no object, broken JSON, other encodings and numbers that are not finite get `invalid_json`."""
    error = refused(raw)
    assert error.code == "invalid_json"
    assert error.message.endswith(".")


@pytest.mark.parametrize(
    ("raw", "key"),
    [
        (b'{"stream":false,"stream":true}', "stream"),
        (b'{"stream":false,"stre\\u0061m":true}', "stream"),
        (b'{"a":{"b":[{"c":1,"d":2,"c":1}]}}', "c"),
        (b'{"":1,"":2}', ""),
    ],
)
def test_a_key_twice_is_refused_at_any_depth(raw: bytes, key: str) -> None:
    """C22: the same key twice in one object, also spelled with escapes, gets `duplicate_key` and is named."""
    error = refused(raw)
    assert (error.code, error.param) == ("duplicate_key", key)
    assert f'"{key}"' in error.message


def test_the_same_key_in_two_objects_is_fine() -> None:
    """Only within one object a key must be unique."""
    assert parse_object(b'{"a":{"a":1},"b":[{"a":1},{"a":1}]}')


def test_a_lone_surrogate_in_the_prompt_is_the_upstreams_matter() -> None:
    """The escape of a lone surrogate is JSON; outside of names it passes."""
    assert parse_model_call(b'{"messages":["\\ud800"]}')


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'[{"a":'])
@pytest.mark.parametrize("depth", [MAX_DEPTH, 800, 2000, 40_000])
def test_deep_nesting_is_refused_at_once(opening: bytes, depth: int) -> None:
    """C24: too many levels get `invalid_json`, closed or not, whatever the recursion limit of Python."""
    closing = opening[::-1].translate(bytes.maketrans(b"[{", b"]}"), b'":a')
    assert refused(b'{"a":' + opening * depth).code == "invalid_json"
    error = refused(b'{"a":' + opening * depth + b"1" + closing * depth + b"}")
    assert (error.code, "nested too deeply" in error.message) == ("invalid_json", True)


def test_the_deepest_body_allowed_passes() -> None:
    """Exactly the allowed levels pass, one more does not, and brackets in strings do not count."""
    inner = MAX_DEPTH - 1
    assert parse_object(b'{"a":' + b"[" * inner + b"]" * inner + b"}")
    assert parse_object(b'{"a":"' + b"[" * 5000 + b'"}')
    assert nested_deeper([[]], 1)
    assert not nested_deeper([[]], 2)


def test_many_keys_are_read_and_too_many_refused() -> None:
    """C24: a body of 40,000 keys is read; one of a million is refused before it is."""
    body = parse_object(b"{" + b",".join(b'"k%d":%d' % (n, n) for n in range(40_000)) + b"}")
    assert len(body) == 40_000
    refusal = refused(b"{" + b",".join(b'"k%d":%d' % (n, n) for n in range(1_000_000)) + b"}")
    assert (refusal.code, "50000 keys" in refusal.message) == ("invalid_json", True)


texts = st.text(st.sampled_from('aü😀"\\\n\0'), max_size=6)
json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(texts, json_values))
def test_every_ordinary_object_passes_unchanged(body: dict[str, Any]) -> None:
    """Any object without rule breaks is let through, and read as the standard library reads it."""
    raw = json.dumps(body).encode()
    assert parse_model_call(raw).body == json.loads(raw)


@given(st.binary(max_size=60) | st.text(st.sampled_from('{}[]":,1e9tru\\ud80nNaI\n\0'), max_size=40).map(str.encode))
def test_any_bytes_give_an_object_or_the_documented_error(raw: bytes) -> None:
    """C20: nothing but `BodyError` is ever raised."""
    with contextlib.suppress(BodyError):
        assert isinstance(parse_object(raw), dict)


@pytest.mark.parametrize(
    "raw", [b'{"a": [' + b"[]," * 100_000 + b"[]]}", b'{"a": [' + b"1," * 400_001 + b"1]}"], ids=["arrays", "numbers"]
)
def test_a_body_of_too_many_parts_is_refused_before_it_is_read(raw: bytes) -> None:
    """C24: more objects, arrays or values than any real request has are refused by their count."""
    with pytest.raises(BodyError, match="more than"):
        parse_object(raw)


def test_signs_within_texts_are_not_counted() -> None:
    """A long text full of commas, brackets and escaped quotes is read, whatever it looks like."""
    said = '[{"\\",' * 200_000
    assert parse_object(json.dumps({"a": said}).encode())["a"] == said


def test_an_open_text_of_escapes_is_refused_at_once() -> None:
    """A text that never ends, made of escaped quotes, costs one pass and is refused."""
    with pytest.raises(BodyError, match="not valid JSON"):
        parse_object(b'{"a": "' + b'\\",' * 500_000)
