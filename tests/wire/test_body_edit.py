import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.usage import UsageAsk
from proxy.wire.body_edit import as_stream, with_stream_usage, without_member
from proxy.wire.openai_chat import OpenAIChat


@pytest.mark.parametrize(
    ("raw", "edited"),
    [
        ("{}", '{"stream_options":{"include_usage":true}}'),
        ('{"a":1}', '{"a":1,"stream_options":{"include_usage":true}}'),
        (' { "a" : 1.50e+2 \n}\n', ' { "a" : 1.50e+2 \n,"stream_options":{"include_usage":true}}\n'),
        ('{"stream_options":null,"b":2}', '{"stream_options":{"include_usage":true},"b":2}'),
        ('{"stream_options": { } ,"b":2}', '{"stream_options": { "include_usage":true} ,"b":2}'),
        (
            '{"stream_options":{"x": 1.0,"include_usage" : false}, "b":2}',
            '{"stream_options":{"x": 1.0,"include_usage" : true}, "b":2}',
        ),
        ('{"stream\\u005foptions":{}}', '{"stream\\u005foptions":{"include_usage":true}}'),
        ('{"stream_options":7}', '{"stream_options":7}'),
        ('{"m":"\\ud800 }{","\\udfff":[{"stream_options":1}],"n":12345678901234567890.10}', None),
    ],
)
def test_usage_is_asked_for_and_nothing_else_changes(raw: str, edited: str | None) -> None:
    """Spacing, order, spelling of numbers, escapes and other options stay as the client wrote them."""
    expected = edited or raw[:-1] + ',"stream_options":{"include_usage":true}}'
    assert with_stream_usage(raw.encode()).decode() == expected
    assert OpenAIChat().ask_for_usage(raw.encode()).decode() == expected


def test_running_totals_are_asked_for() -> None:
    """The option for a total in every chunk comes beside the other."""
    assert OpenAIChat().ask_for_usage(b"{}", continuous=True) == (
        b'{"stream_options":{"include_usage":true,"continuous_usage_stats":true}}'
    )


@pytest.mark.parametrize(
    ("raw", "edited"),
    [
        ("{}", '{"stream":true,"stream_options":{"include_usage":true}}'),
        ('{"stream": false,"a":1}', '{"stream": true,"a":1,"stream_options":{"include_usage":true}}'),
        ('{"stream_options":{},"stream":null}', '{"stream_options":{"include_usage":true},"stream":true}'),
        ('{"stream":null,"stream_options":{}}', '{"stream":true,"stream_options":{"include_usage":true}}'),
        ('{"stream":false,"stream_options":[]}', '{"stream":true,"stream_options":[]}'),
    ],
)
def test_a_stream_is_asked_for(raw: str, edited: str) -> None:
    """A call that was not streaming asks for a stream with usage, wherever the fields stand."""
    assert as_stream(raw.encode(), usage=UsageAsk.FINAL).decode() == edited


@pytest.mark.parametrize(
    ("raw", "edited"),
    [
        ("{}", '{"stream":true}'),
        ('{"stream": false,"stream_options":null}', '{"stream": true,"stream_options":null}'),
    ],
)
def test_a_stream_is_asked_for_without_usage(raw: str, edited: str) -> None:
    """Where no usage is wanted the stream options stay as they are."""
    assert as_stream(raw.encode(), usage=UsageAsk.NOTHING).decode() == edited


@pytest.mark.parametrize("raw", [b"", b"[]", b"7", b"{", b'{"a" 1}', b'{"a":1 "b":2}', b'{"a":}', b'{"a":1,'])
def test_what_is_no_object_is_refused(raw: bytes) -> None:
    """Only a JSON object can be edited."""
    with pytest.raises(ValueError, match=r".+"):
        with_stream_usage(raw)


texts = st.text(st.sampled_from('a\\"{}:,\ud800ü '), max_size=5)
values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | texts,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=6,
)


@given(st.dictionaries(texts | st.just("stream"), values), st.sampled_from([None, 1]))
def test_all_other_members_read_the_same(body: dict[str, Any], indent: int | None) -> None:
    """For any object, the edited body reads as the old one with the two members set."""
    edited = json.loads(as_stream(json.dumps(body, indent=indent).encode(), usage=UsageAsk.FINAL))
    assert edited == body | {"stream": True, "stream_options": {"include_usage": True}}


@pytest.mark.parametrize(
    ("raw", "edited"),
    [
        ('{"usage":{"a":1}}', "{}"),
        ('{ "usage" : {"a":[1,"}"]} , "b": 1.50 }', '{ "b": 1.50 }'),
        ('{"a":1,"usage":null}', '{"a":1}'),
        ('{"a":1 , "usage" : 7 ,"b" : 2}', '{"a":1 ,"b" : 2}'),
        ('{"a":{"usage":1},"b":"usage"}', '{"a":{"usage":1},"b":"usage"}'),
        ('{"a":{"usage":1},"us\\u0061ge":2}', '{"a":{"usage":1}}'),
    ],
)
def test_a_member_is_taken_out_and_nothing_else_changes(raw: str, edited: str) -> None:
    """The first, the last, one between, the only one; a member of that name further inside is another one."""
    assert without_member(raw.encode(), "usage").decode() == edited
    assert json.loads(without_member(raw.encode(), "usage", "null")).get("usage") is None


@pytest.mark.parametrize("raw", [b"", b"[]", b"{", b'{"usage"', b"\xff", b'{"a":1 "usage":2}'])
def test_a_member_of_no_object_is_an_error(raw: bytes) -> None:
    """What is no JSON object can't be edited."""
    with pytest.raises(ValueError, match=r".*"):
        without_member(raw, "usage")
