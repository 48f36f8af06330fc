"""Tests of proxy.wire.usage_member: running totals leave a stream as they came into it, and nothing else does."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.wire.opaque import Opaque
from proxy.wire.openai_chat import OpenAIChat
from proxy.wire.openai_responses import OpenAIResponses

WIRE = OpenAIChat()
USAGE = {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4, "completion_tokens_details": {"x": "}"}}
CHOICE = {"index": 0, "delta": {"content": 'He said "usage": {1} and ,\\"usage\\":{}'}, "finish_reason": None}
DONE = b"data: [DONE]\n\n"


def event(data: Any, **style: Any) -> bytes:
    """One event."""
    return b"data: " + json.dumps(data, **style).encode() + b"\n\n"


def chunk(**more: Any) -> dict[str, Any]:
    """A chunk with a choice."""
    return {"id": "c", "choices": [CHOICE], **more}


@pytest.mark.parametrize("style", [{}, {"separators": (",", ":")}, {"separators": (" , ", " : ")}])
@pytest.mark.parametrize(
    ("before", "after"),
    [
        (chunk(usage=USAGE), chunk()),
        (chunk(usage=USAGE, last=[1]), chunk(last=[1])),
        ({"usage": USAGE, **chunk()}, chunk()),
        (chunk(usage=None), chunk()),
        (chunk(x_groq={"usage": USAGE}, usage=USAGE), chunk(x_groq={"usage": USAGE})),
        (chunk(x_groq={"id": "g", "usage": USAGE}, usage=USAGE), chunk(x_groq={"id": "g", "usage": USAGE})),
        (chunk(x_groq={"usage": USAGE}), chunk(x_groq={"usage": USAGE})),
        (chunk(), chunk()),
    ],
)
def test_the_member_is_taken_out(before: dict[str, Any], after: dict[str, Any], style: dict[str, Any]) -> None:
    """Wherever it stands, however it is spaced; one of the same name further inside, or in a text, stays."""
    said = event(before, **style)
    assert WIRE.without_running_usage(said, null=False) == event(after, **style)
    nulled = json.loads(WIRE.without_running_usage(said, null=True).removeprefix(b"data: "))
    assert nulled == {**after, **({"usage": None} if "usage" in before else {})}


@pytest.mark.parametrize("odd", [rb'"\ud800"', b"NaN", b"1e999", b'"usage"', b"12345678901234567890.10"])
def test_odd_chunks_lose_it_too(odd: bytes) -> None:
    """What strict readers refuse, or is spelled unusually, is edited like anything else, and stays as it is spelled."""
    said = b'data: {"choices":[{"x":%b}],"usage":{"a":1}}\n\n' % odd
    assert WIRE.without_running_usage(said, null=False) == b'data: {"choices":[{"x":%b}]}\n\n' % odd


def test_the_chunk_that_exists_for_usage_stays() -> None:
    """Only totals beside text are taken out; the extra chunk is another question."""
    extra = event({"id": "c", "choices": [], "usage": USAGE})
    block = event(chunk(usage=USAGE)) + extra + DONE
    assert WIRE.without_running_usage(block, null=False) == event(chunk()) + extra + DONE
    assert WIRE.without_extra_usage(block) == event(chunk(usage=USAGE)) + DONE


@pytest.mark.parametrize(
    "block",
    [
        b"",
        DONE,
        b': "usage"\n\n',
        b'data: {"usage"\n\n',
        b'data: "usage"\n\n',
        b'data: {"choices":[1],\ndata: "usage":{}}\n\n',
        b'data: {"a":' + b"[" * 5000 + b'"usage"\n\n',
        event({"a": "usage"}),
    ],
)
def test_what_can_not_be_read_is_passed_on(block: bytes) -> None:
    """Comments, broken JSON, events of several lines: as they came."""
    assert WIRE.without_running_usage(block, null=False) == block


@pytest.mark.parametrize("border", [b"\r\n", b"\n", b"\r"])
def test_the_lines_around_it_stay(border: bytes) -> None:
    """Event names, ids, comments and any end of line are as the upstream wrote them."""
    block = border.join((b": hi", b"event: x", b'data:{"choices":[1],"usage":{"a":1}}', b"id: 7", b"", b""))
    expected = block.replace(b',"usage":{"a":1}', b"")
    assert WIRE.without_running_usage(block, null=False) == expected


values = st.recursive(
    st.none() | st.integers() | st.sampled_from(["usage", '"usage":', "}", "choices", "é"]),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["usage", "a", "choices"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(
    chunks=st.lists(st.dictionaries(st.sampled_from(["usage", "a", "choices", "z"]), values), max_size=4),
    spaced=st.booleans(),
    null=st.booleans(),
)
def test_any_chunk_loses_its_usage_and_nothing_else(chunks: list[dict[str, Any]], spaced: bool, null: bool) -> None:
    """For any JSON: the same chunks in the same order, each without the member, or with nothing in it."""
    style: dict[str, Any] = {} if spaced else {"separators": (",", ":")}
    block = b"".join(event(each, **style) for each in chunks)
    expected = []
    for each in chunks:
        keeps = b'"choices":[]' in json.dumps(each, separators=(",", ":")).encode()
        rest = {key: value for key, value in each.items() if key != "usage"}
        nulled = {**each, "usage": None} if "usage" in each else each
        expected.append(each if keeps else nulled if null else rest)
    assert WIRE.without_running_usage(block, null=null) == b"".join(event(each, **style) for each in expected)


@pytest.mark.parametrize("wire", [Opaque(), OpenAIResponses()])
def test_formats_without_running_totals_stay_as_they_are(wire: Any) -> None:
    """Nothing is asked of them, so there is nothing to take out."""
    block = event(chunk(usage=USAGE))
    assert wire.without_running_usage(block, null=False) == block
