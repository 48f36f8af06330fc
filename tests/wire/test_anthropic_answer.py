"""A stream of Anthropic's Messages API folded into the message that the same server gives without streaming."""

import json
from typing import Any

import pytest
from anthropic.types import Message
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from proxy.core.sse import Framer
from proxy.wire.answer import AnswerTooLargeError
from proxy.wire.anthropic_answer import AnthropicAnswerFold
from support.messages import block, end, event, message, message_events, start, text_block, whole
from support.recordings import recorded

MESSAGE: TypeAdapter[Any] = TypeAdapter(Message)
CITATION = {
    "type": "char_location",
    "cited_text": "a",
    "document_index": 0,
    "document_title": None,
    "start_char_index": 0,
    "end_char_index": 1,
    "file_id": None,
}


def folded(*blocks: bytes) -> dict[str, Any]:
    """The message that blocks make, as its types say."""
    fold = AnthropicAnswerFold()
    for each in blocks:
        fold.feed(each)
    found: dict[str, Any] = json.loads(fold.answer())
    MESSAGE.validate_python(found)
    return found


def test_the_same_as_the_plain_answer() -> None:
    """Text, reason and counts are those of a non-streaming answer."""
    assert folded(*message_events(5)) == whole(5)


def test_a_real_server() -> None:
    """A real server's stream has the fields of its plain answer, in the same order."""
    plain = json.loads(recorded("llama-messages-plain"))
    found = folded(recorded("llama-messages"))
    assert sorted(found) == sorted(plain)
    assert (found["stop_reason"], found["usage"]) == (
        "max_tokens",
        {"cache_read_input_tokens": 13, "input_tokens": 17, "output_tokens": 40},
    )
    assert found["content"][0]["text"].startswith(" disa geko")


def test_blocks_of_every_kind() -> None:
    """Thinking with its signature, tools with their input, citations, and blocks that come whole are put together."""
    result = {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []}
    events = [
        start(),
        *block(
            0,
            {"type": "thinking", "thinking": "", "signature": ""},
            {"type": "thinking_delta", "thinking": "So "},
            {"type": "thinking_delta", "thinking": "far"},
            {"type": "signature_delta", "signature": "c2ln"},
        ),
        *block(
            1,
            {"type": "text", "text": "", "citations": None},
            {"type": "text_delta", "text": "a"},
            {"type": "citations_delta", "citation": CITATION},
        ),
        *block(2, result),
        *block(
            3,
            {"type": "tool_use", "id": "t", "name": "look", "input": {}},
            {"type": "input_json_delta", "partial_json": '{"at"'},
            {"type": "input_json_delta", "partial_json": ':"end"}'},
        ),
        *block(
            4,
            {"type": "tool_use", "id": "u", "name": "go", "input": {}},
            {"type": "input_json_delta", "partial_json": ""},
        ),
        *block(
            5,
            {"type": "tool_use", "id": "v", "name": "cut", "input": {}},
            {"type": "input_json_delta", "partial_json": '{"x'},
        ),
        *end(9, "tool_use"),
    ]
    assert folded(*events) == message(
        [
            {"type": "thinking", "thinking": "So far", "signature": "c2ln"},
            {"type": "text", "text": "a", "citations": [CITATION]},
            result,
            {"type": "tool_use", "id": "t", "name": "look", "input": {"at": "end"}},
            {"type": "tool_use", "id": "u", "name": "go", "input": {}},
            {"type": "tool_use", "id": "v", "name": "cut", "input": {}},
        ],
        "tool_use",
        {"input_tokens": 7, "output_tokens": 9},
    )


def test_any_cut_gives_the_same_answer() -> None:
    """However the bytes are cut, the answer is the same."""
    body = b"".join(message_events(3))
    for at in range(len(body)):
        framer, fold = Framer(), AnthropicAnswerFold()
        for piece in (body[:at], body[at:]):
            fold.feed(framer.push(piece))
        assert json.loads(fold.answer()) == whole(3)


@pytest.mark.parametrize(
    "events",
    [
        100 * text_block(20, stop=False)[1:],
        [
            event("content_block_start", index=number, content_block={"type": "text", "text": ""})
            for number in range(200)
        ],
        100 * [event("message_delta", delta={"stop_sequence": 50 * "x"})],
    ],
)
def test_it_is_bounded(events: list[bytes]) -> None:
    """An answer that grows beyond the limit is refused, whatever it grows by."""
    fold = AnthropicAnswerFold(limit=5000)
    fold.feed(b"".join([start(), text_block(0)[0]]))
    with pytest.raises(AnswerTooLargeError):
        fold.feed(b"".join(events))


@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(["type", "index", "delta", "content_block", "message", "usage"]),
            st.sampled_from(["message_start", "content_block_start", "content_block_delta", "message_delta"])
            | st.integers(0, 2)
            | st.dictionaries(
                st.sampled_from(["type", "text", "partial_json", "thinking", "usage", "citations"]),
                st.sampled_from(["text_delta", "input_json_delta", "citations_delta", "signature_delta"])
                | st.none()
                | st.integers()
                | st.lists(st.integers()),
            ),
        ),
        max_size=6,
    )
)
def test_no_event_makes_it_raise(found: list[Any]) -> None:
    """Whatever the events say, there is an answer in JSON."""
    fold = AnthropicAnswerFold()
    fold.feed(b"".join(b"data: %b\n\n" % json.dumps(each).encode() for each in found))
    json.loads(fold.answer())
