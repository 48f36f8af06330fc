"""The wire format of Anthropic's Messages API: a recording of a real server, and events as the API documents them."""

import json
from typing import Any

import pytest
from anthropic.types import RawMessageStreamEvent
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from proxy.core.partial import Partial, safe_text
from proxy.core.sse import Framer, events, slices
from proxy.core.usage import Usage
from proxy.wire.anthropic import AnthropicMessages
from support.chat import text
from support.messages import ID, begun_events, block, end, event, message, message_events, start, text_block, whole
from support.recordings import recorded

WIRE = AnthropicMessages()
EVENT: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)
RECORDING = recorded("llama-messages")
TOOL = block(
    1,
    {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {}},
    {"type": "input_json_delta", "partial_json": ""},
    {"type": "input_json_delta", "partial_json": '{"at": '},
    {"type": "input_json_delta", "partial_json": '"end"}'},
)
THOUGHT = block(
    0,
    {"type": "thinking", "thinking": "", "signature": ""},
    {"type": "thinking_delta", "thinking": "So "},
    {"type": "thinking_delta", "thinking": "far"},
    {"type": "signature_delta", "signature": "c2ln"},
)


def folded(*blocks: bytes) -> Partial:
    """What blocks make."""
    partial = Partial()
    for each in blocks:
        WIRE.fold(each, partial)
    return partial


def facts(partial: Partial) -> tuple[Any, ...]:
    """All facts of a partial, to compare: texts are kept in pieces that depend on the cut."""
    names = [name for name in Partial.__slots__ if name != "choices"]
    return (*(getattr(partial, name) for name in names), partial.text(), partial.reasoning(), partial.tool_calls())


def closing(partial: Partial, *, reason: str = "stop", usage: Usage | None = None) -> list[dict[str, Any]]:
    """The events that end a stopped stream, behind a comment, each as the official types say."""
    frames = WIRE.closing(
        partial, finish_reason=reason, usage=usage, comment="c", answer_id="a-b", model="asked", created=9
    )
    assert not frames or frames.startswith(b": c\n\n")
    found = []
    for each in events(frames):
        data = json.loads(each.data)
        assert each.type == data["type"]
        if data.get("delta", {}).get("stop_reason") != "cancelled":
            EVENT.validate_python(data)
        found.append(data)
    return found


def types(found: list[dict[str, Any]]) -> list[str]:
    """The events' types."""
    return [each["type"] for each in found]


def test_a_real_server() -> None:
    """A real server's stream folds to its text, counts, id and model, and is whole."""
    partial = folded(RECORDING)
    said = [json.loads(each.data).get("delta", {}).get("text", "") for each in events(RECORDING)]
    assert (partial.text(), partial.finish_reasons) == ("".join(said), {0: "max_tokens"})
    assert (partial.usage, partial.usage_is_final) == (Usage(30, 40, 13), True)
    assert (partial.upstream_id, partial.upstream_model) == ("chatcmpl-fyBjddWGJdeIlZT4bNpDy02oYKRe8aHw", "tiny.gguf")
    assert (partial.terminal, partial.bad_events, partial.complete(eof_clean=True)) == (True, 0, True)
    assert WIRE.peek_id(RECORDING[:600]) == partial.upstream_id


@pytest.mark.parametrize("body", [RECORDING, b"".join([start(), *THOUGHT, *TOOL, *end(9, "tool_use")])])
def test_any_cut_gives_the_same_fold(body: bytes) -> None:
    """However a stream's bytes are cut, the fold is the same."""
    expected = facts(folded(body))
    for at in range(0, len(body), 1 if len(body) < 3000 else 7):
        framer, partial = Framer(), Partial()
        for piece in (body[:at], body[at:]):
            WIRE.fold(framer.push(piece), partial)
        assert facts(partial) == expected


def test_a_stop_anywhere() -> None:
    """Stopped after any event, a stream ends well formed: what is open is closed, the reason comes once."""
    pieces = [raw for raw, _ in slices(b"".join([start(), *THOUGHT, *TOOL, *text_block(2, 2), *end(9)]))]
    for at in range(1, len(pieces) - 1):
        before = b"".join(pieces[:at])
        seen = [json.loads(each.data) for each in events(before)] + closing(folded(before), usage=Usage(7, 3))
        opened = [each["index"] for each in seen if each["type"] == "content_block_start"]
        closed = [each["index"] for each in seen if each["type"] == "content_block_stop"]
        assert opened == closed
        assert (types(seen).count("message_delta"), types(seen)[-1]) == (1, "message_stop")
    assert closing(folded(*pieces)) == []


def test_a_stop_in_the_middle() -> None:
    """The open block is closed, then the reason and what was used, then the message."""
    last = closing(folded(*begun_events(3)), usage=Usage(7, 3))
    assert last == [
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            "usage": {"output_tokens": 3},
        },
        {"type": "message_stop"},
    ]
    assert closing(folded(*begun_events(3)), reason="cancelled")[1]["delta"]["stop_reason"] == "cancelled"


def test_a_stop_before_the_first_event() -> None:
    """A stream that had not begun begins and ends, under an id of ours; a ping does not begin it."""
    for before in (b"", event("ping")):
        begun, *rest = closing(folded(before), usage=Usage(12, 0))
        assert types(rest) == ["message_delta", "message_stop"]
        assert begun["message"] == message([], None, {"input_tokens": 12, "output_tokens": 0}, ident="msg_ab") | {
            "model": "asked"
        }


def test_a_stop_behind_the_reason() -> None:
    """Where the upstream has said why it stops, only the message is ended."""
    assert types(closing(folded(start(), *text_block(1), end(1)[0]))) == ["message_stop"]


def test_blocks_of_every_kind() -> None:
    """Text is text, thinking is reasoning, a tool's input the arguments of a call; what the server ran is no answer."""
    server = block(2, {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "q"}})
    result = block(3, {"type": "web_search_tool_result", "tool_use_id": "s", "content": [{"type": "x", "text": "no"}]})
    redacted = block(4, {"type": "redacted_thinking", "data": "abc"})
    partial = folded(start(), *THOUGHT, *TOOL, *server, *result, *redacted, *text_block(2, 5), *text_block(1, 6))
    assert (partial.text(), partial.reasoning()) == (text(2) + text(1), "So far")
    assert partial.tool_calls() == [("toolu_1", "look", '{"at": "end"}'), ("s", "web_search", '{"query":"q"}')]
    assert partial.bad_events == 0


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({}, Usage(7)),
        ({"cache_read_input_tokens": 100, "cache_creation_input_tokens": 20}, Usage(127, None, 100)),
        ({"cache_read_input_tokens": None, "cache_creation_input_tokens": None}, Usage(7)),
        ({"input_tokens": 0}, Usage()),
        ({"input_tokens": 0, "cache_read_input_tokens": 5}, Usage(5, None, 5)),
        ({"cache_creation_input_tokens": -1}, Usage(7, invalid=True)),
        ({"input_tokens": "7"}, Usage(invalid=True)),
    ],
)
def test_the_counts_at_the_start(usage: dict[str, Any], expected: Usage) -> None:
    """The start counts the whole prompt, with what came from the cache and went into it; the output is not counted."""
    partial = folded(start(**usage))
    assert (partial.usage, partial.usage_is_final) == (expected, False)


def test_the_counts_at_the_end() -> None:
    """The last counts stand, none is added up; they are final with the reason to stop, or the end of the message."""
    running = event("message_delta", delta={}, usage={"output_tokens": 3, "input_tokens": 9})
    partial = folded(start(), running)
    assert (partial.usage, partial.usage_is_final) == (Usage(9, 3), False)
    details = {"output_tokens": 5, "output_tokens_details": {"thinking_tokens": 2}}
    ended = event("message_delta", delta={"stop_reason": "end_turn"}, usage=details)
    WIRE.fold(ended, partial)
    assert (partial.usage, partial.usage_is_final) == (Usage(9, 5, None, 2), True)
    assert partial.complete(eof_clean=False)
    assert folded(start(), running, event("message_stop")).usage_is_final


@pytest.mark.parametrize(
    "error",
    [
        event("error", error={"type": "overloaded_error", "message": "Overloaded"}),
        b'data: {"error": {"type": "overloaded_error", "message": "Overloaded"}}\n\n',
    ],
)
def test_error_events(error: bytes) -> None:
    """An error in the stream is noted; it ends the stream for its clients, so nothing is put behind it."""
    partial = folded(*begun_events(2), error)
    assert partial.error is not None
    assert (partial.error.message, partial.error.type) == ("Overloaded", "overloaded_error")
    assert not partial.complete(eof_clean=True)
    assert closing(partial) == []


@pytest.mark.parametrize(
    ("code", "kind"), [("upstream_reset", "api_error"), ("upstream_idle_timeout", "timeout_error")]
)
def test_our_own_error_event(code: str, kind: str) -> None:
    """What breaks on the way is told as the API's error event."""
    (found,) = events(WIRE.error_frame(Partial(), "Broken.", "upstream_error", code))
    assert found.type == "error"
    assert json.loads(found.data) == {"type": "error", "error": {"type": kind, "message": "Broken.", "code": code}}


def test_another_servers_terminator() -> None:
    """A server that ends every stream in OpenAI's way is understood."""
    body = b"".join([*message_events(2), b"data: [DONE]\n\n"])
    assert (folded(body).done, WIRE.is_done(b"data: [DONE]\n\n"), WIRE.is_done(event("message_stop"))) == (
        True,
        True,
        False,
    )
    assert folded(body, event("ping")).trailing


@pytest.mark.parametrize(
    ("body", "said", "usage", "complete"),
    [
        (recorded("llama-messages-plain"), " dilu", Usage(30, 40, 29), True),
        (json.dumps(whole(3)).encode(), text(3), Usage(7, 3), True),
        (b'{"type": "error", "error": {"type": "api_error", "message": "Oh."}}', "", None, False),
        (b"nonsense", "", None, False),
    ],
)
def test_whole_answers(body: bytes, said: str, usage: Usage | None, complete: bool) -> None:
    """A whole message gives its text and counts; it is whole once its body has ended."""
    partial = Partial()
    WIRE.fold_answer(body, partial)
    assert partial.text().startswith(said)
    assert (partial.usage, partial.complete(eof_clean=True)) == (usage, complete)


def test_whole_tools() -> None:
    """The calls of a whole message have their input as arguments."""
    content: list[dict[str, Any]] = [
        {"type": "thinking", "thinking": "Hm", "signature": "x"},
        {"type": "tool_use", "id": "t", "name": "look", "input": {"x": 1}},
    ]
    partial = Partial()
    WIRE.fold_answer(
        json.dumps(message(content, "tool_use", {"input_tokens": 1, "output_tokens": 2})).encode(), partial
    )
    assert (partial.reasoning(), partial.tool_calls()) == ("Hm", [("t", "look", '{"x":1}')])


def test_the_prompt_for_counting() -> None:
    """The system prompt is counted with the messages."""
    messages = [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]
    found = WIRE.countable(json.dumps({"system": "Be brief.", "messages": messages}).encode())
    assert json.loads(found) == {"messages": [{"role": "system", "content": "Be brief."}, *messages]}
    assert json.loads(WIRE.countable(b'{"messages": 7}')) == {"messages": []}
    assert json.loads(WIRE.countable(b"nonsense")) == {"messages": []}


KEYS = (
    *("type", "index", "delta", "content_block", "message", "usage", "error", "text", "thinking", "partial_json"),
    *("content", "id", "model", "stop_reason", "input_tokens", "output_tokens", "cache_read_input_tokens", "input"),
)
KINDS = (
    *("message_start", "message_delta", "message_stop", "content_block_start", "content_block_delta", "error"),
    *("content_block_stop", "text_delta", "thinking_delta", "input_json_delta", "text", "thinking", "tool_use"),
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(KINDS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5),
    max_leaves=12,
)


@given(st.lists(st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=6) | VALUES, max_size=5))
def test_no_event_makes_it_raise(found: list[Any]) -> None:
    """Whatever the events say, and whatever is there in place of a message, it folds, and can be closed and counted."""
    written = [json.dumps(each).encode() for each in found]
    partial = folded(b"".join(b"data: %b\n\n" % each for each in written))
    last = WIRE.closing(partial, finish_reason="stop", usage=None, comment="c")
    assert last.endswith(b"\n\n") or partial.terminal or partial.error
    partial.display_text().encode()
    for _, counted in partial.counted_texts():
        safe_text(counted.value()).encode()
    for each in written:
        WIRE.fold_answer(each, Partial())
        WIRE.peek_id(b"data: %b\n\n" % each)
        WIRE.countable(each)


@given(st.binary(max_size=60))
def test_no_bytes_make_it_raise(found: bytes) -> None:
    """Bytes that are no events, or no JSON, are passed over."""
    folded(found, b"data: " + found + b"\n\n")
    WIRE.fold_answer(found, Partial())
    WIRE.peek_id(found)
    WIRE.is_done(found)


def test_the_id_of_a_message() -> None:
    """The first event names the message."""
    assert WIRE.peek_id(event("ping") + start()) == ID
    assert WIRE.peek_id(b": hello\n\n") is None
