import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.partial import Partial, StreamError
from proxy.core.sse import Framer, comment, encode_event, events, slices
from proxy.core.usage import Usage
from proxy.wire.openai_chat import OpenAIChat
from support.recordings import CHAT_STREAMS, recorded

WIRE = OpenAIChat()


def event(found: object) -> bytes:
    """An event with JSON data."""
    return encode_event(json.dumps(found).encode())


def chunk(delta: dict[str, Any] | None = None, finish: str | None = None, index: int = 0, **more: Any) -> bytes:
    """A chat chunk as an event."""
    choice = {"index": index, "delta": {} if delta is None else delta, "finish_reason": finish}
    return event({"id": "chatcmpl-1", "model": "m", "created": 7, "choices": [choice], **more})


def folded(*blocks: bytes) -> Partial:
    """What a fresh partial knows after these blocks."""
    partial = Partial()
    for block in blocks:
        WIRE.fold(block, partial)
    return partial


def facts(partial: Partial) -> tuple[Any, ...]:
    """All facts of a partial, to compare."""
    return (
        *(getattr(partial, name) for name in Partial.__slots__ if name != "choices"),
        {
            index: (partial.text(index), partial.reasoning(index), partial.tool_calls(index))
            for index in partial.choices
        },
    )


@pytest.mark.parametrize(
    ("name", "characters", "finish_reasons", "usage", "done"),
    [
        ("llama-chat", 200, {0: "length"}, None, True),
        ("llama-chat-usage", 200, {0: "length"}, Usage(30, 40, 0), True),
        ("llama-chat-logprobs", 60, {0: "length"}, None, True),
        ("llama-chat-n2", 200, {0: "length", 1: "length"}, None, True),
        ("llama-chat-tools", 600, {0: "length"}, None, True),
        ("llamapy-chat", 150, {0: "length"}, None, True),
        ("llamapy-chat-interrupted", 335, {}, None, True),
        ("transformers-chat", 130, {0: "length"}, Usage(26, 30), False),
    ],
)
def test_recordings_are_folded(
    name: str, characters: int, finish_reasons: dict[int, str], usage: Usage | None, done: bool
) -> None:
    """The streams of three real servers give their text, finish reasons and usage."""
    partial = folded(recorded(name))
    text = "".join(
        choice["delta"].get("content") or ""
        for each in events(recorded(name))
        if each.data != b"[DONE]"
        for choice in json.loads(each.data)["choices"]
        if choice["index"] == 0
    )
    assert partial.text(0) == text
    assert (partial.characters, partial.finish_reasons, partial.usage) == (characters, finish_reasons, usage)
    assert (partial.done, partial.bad_events, partial.usage_is_final) == (done, 0, usage is not None)
    assert partial.complete(eof_clean=False) is bool(finish_reasons)
    first = json.loads(events(recorded(name))[0].data)
    assert (partial.upstream_id, partial.upstream_model, partial.created) == (
        first["id"],
        first["model"],
        first["created"],
    )
    assert WIRE.peek_id(recorded(name)) == first["id"]


@pytest.mark.parametrize("name", CHAT_STREAMS)
def test_every_cut_gives_the_same_partial(name: str) -> None:
    """U20: cut at any byte, a recording folds to the same facts; each border is folded once for all its cuts."""
    body = recorded(name)
    whole = facts(folded(body))
    seen: set[int] = set()
    for cut in range(len(body) + 1):
        framer = Framer()
        first = framer.push(body[:cut])
        rest = framer.push(body[cut:])
        if len(first) not in seen:
            seen.add(len(first))
            assert facts(folded(first, rest)) == whole
    assert facts(folded(*(raw for raw, _ in slices(body)))) == whole


@pytest.mark.parametrize("end", [b"\r\n", b"\r"])
@pytest.mark.parametrize("name", CHAT_STREAMS)
def test_other_line_ends_give_the_same_partial(name: str, end: bytes) -> None:
    """U17: the same stream with CRLF or CR folds to the same facts."""
    body = recorded(name)
    assert facts(folded(body.replace(b"\n", end))) == facts(folded(body))


@pytest.mark.parametrize("name", CHAT_STREAMS)
def test_a_stream_cut_off_is_whole_only_after_its_proof(name: str) -> None:
    """U10: up to the event with the last finish reason, or `[DONE]` with a proper end, a cut stream is not whole."""
    body, at = recorded(name), 0
    for raw, _ in slices(body):
        before = folded(body[:at])
        proven = before.all_finished() or before.done
        assert before.complete(eof_clean=True) is proven
        assert before.complete(eof_clean=False) is before.all_finished()
        at += len(raw)


def test_reasoning_refusal_and_tool_calls_are_folded() -> None:
    """All that a delta can carry is kept apart, under the names that servers use; a repeated tool name counts once."""
    partial = folded(
        chunk({"role": "assistant", "content": "", "reasoning_content": "hm"}),
        chunk({"reasoning": " so", "content": "a"}),
        chunk({"reasoning": "!", "reasoning_content": "!"}),
        chunk({"refusal": "no"}),
        chunk(
            {"tool_calls": [{"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": ""}}]}
        ),
        chunk({"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": '{"a":'}}]}),
        chunk({"tool_calls": [{"index": 0, "function": {"arguments": "1}"}}, {"index": 1, "id": "c2"}]}),
        chunk({"tool_calls": [{"index": 2, "id": "c3", "custom": {"name": "g", "input": "free"}}]}),
        chunk({"function_call": {"name": "old", "arguments": "{}"}}),
    )
    assert (partial.text(), partial.reasoning(), partial.refusal()) == ("a", "hm so!", "no")
    assert partial.tool_calls() == [("", "old", "{}"), ("c1", "f", '{"a":1}'), ("c2", "", ""), ("c3", "g", "free")]
    assert partial.counted_characters == sum(text.size for _, text in partial.counted_texts())


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (rb'{"choices":[{"index":0,"delta":{"content":"a\ud800"}}]}', "a\ufffd"),
        (b'{"choices":[{"index":0,"delta":{"content":"a"},"logprobs":NaN}]}', "a"),
        (b'{"choices":[{"index":0,"delta":{"content":"a\xff"}}]}', "a\ufffd"),
        (b'{"choices":[{"index":0.5,"delta":{"content":"a","tool_calls":7,"refusal":[]}},3],"usage":null}', "a"),
        (b'{"choices":[{"delta":{"content":"a"}}],"id":5,"model":{},"created":1.5}', "a"),
        (b'{"choices":[{"delta":{"content":[{"type":"text","text":"a"},{"thinking":[{"text":"b"}]},1]}}]}', "a"),
        (b'{"choices":[{"delta":{"content":{}}}]}', ""),
        (b'{"choices":[{"delta":{"tool_calls":[1,{"function":2,"custom":3},{"custom":{"name":4}}]}}]}', ""),
        (b'{"choices":{}}', ""),
    ],
)
def test_odd_but_readable_events_lose_nothing_else(data: bytes, text: str) -> None:
    """A surrogate, NaN, broken UTF-8 or a field of another type does not cost the text beside it."""
    partial = folded(encode_event(data))
    assert (partial.display_text(), partial.bad_events) == (text, 0)


@pytest.mark.parametrize(
    "data",
    [
        b"{",
        b"nonsense",
        b"[]",
        b"7",
        b'"x"',
        b"null",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"choices":' + b"1" * 5000 + b"}",
    ],
)
def test_an_unreadable_event_is_counted_and_passed_over(data: bytes) -> None:
    """U28: data that is no JSON object is counted, and the events around it are folded."""
    partial = folded(chunk({"content": "a"}) + encode_event(data) + chunk({"content": "b"}))
    assert (partial.text(), partial.bad_events) == ("ab", 1)


def test_comments_pings_and_empty_data_are_no_events_of_ours() -> None:
    """U19: keep-alives of any kind are neither text nor bad events, and a byte order mark at the start is ignored."""
    partial = folded(
        b"\xef\xbb\xbf: OPENROUTER PROCESSING\n\n" + chunk({"content": "a"}),
        b"data:\n\n" + b"event: ping\ndata: {}\n\n" + comment("x") + b"retry: 3\n\n" + chunk({"content": "b"}),
    )
    assert (partial.text(), partial.bad_events) == ("ab", 0)
    assert folded(b"\xef\xbb\xbf" + chunk({"content": "a"})).text() == "a"
    assert folded(chunk(), b"\xef\xbb\xbf" + chunk({"content": "a"})).text() == ""


def test_two_of_everything_counts_once() -> None:
    """U25, U26: the larger usage and last finish reason stand; what comes behind `[DONE]` is flagged, not folded."""
    partial = folded(
        chunk({"content": "a"}, "stop"),
        chunk({}, "length", usage={"prompt_tokens": 3, "completion_tokens": 9}),
        event({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 5}}),
        b"data: [DONE]\n\n",
    )
    assert (partial.finish_reasons, partial.usage, partial.trailing) == ({0: "length"}, Usage(3, 9), False)
    WIRE.fold(b"data: [DONE]\n\n" + chunk({"content": "b"}), partial)
    assert (partial.text(), partial.trailing, partial.done) == ("a", True, True)


def test_a_running_total_is_not_final() -> None:
    """A cumulative usage in every chunk is the last total until the end makes it final."""
    partial = folded(chunk({"content": "a"}, usage={"prompt_tokens": 3, "completion_tokens": 1}))
    WIRE.fold(chunk({"content": "b"}, usage={"prompt_tokens": 3, "completion_tokens": 2}), partial)
    assert (partial.usage, partial.usage_is_final, partial.usage_chunk) == (Usage(3, 2), False, False)
    WIRE.fold(event({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}), partial)
    assert (partial.usage, partial.usage_is_final, partial.usage_chunk) == (Usage(3, 2), True, True)


@pytest.mark.parametrize("bad", ["-1", "9223372036854775808", "1.0", '"7"', "true", "1e999", "NaN"])
def test_invalid_counts_are_unknown(bad: str) -> None:
    """U27: a count that is none leaves the count unknown and sets the flag."""
    partial = folded(f'data: {{"choices":[],"usage":{{"prompt_tokens":3,"completion_tokens":{bad}}}}}\n\n'.encode())
    assert partial.usage == Usage(3, None, invalid=True)


@pytest.mark.parametrize(
    ("block", "error"),
    [
        (event({"error": {"message": "m", "type": "t", "code": 500}}), StreamError("m", "t", "500")),
        (event({"error": "m"}), StreamError("m")),
        (event({"error": {}}), StreamError("")),
        (event({"object": "error", "message": "m", "type": "t", "code": 4}), StreamError("m", "t", "4")),
        (b'event: error\ndata: {"message":"m"}\n\n', StreamError("m")),
        (b'event: error\ndata: {"error":{"message":"m","code":[]}}\n\n', StreamError("m")),
        (chunk({"content": ""}, "error", error={"code": 502, "message": "m"}), StreamError("m", "", "502")),
    ],
)
def test_an_error_within_the_stream(block: bytes, error: StreamError) -> None:
    """U11: an error in any shape that servers use is noted, the text before it stays, and the answer is not whole."""
    partial = folded(chunk({"content": "a"}) + block + event({"error": {"message": "later"}}), b"data: [DONE]\n\n")
    assert (partial.error, partial.text()) == (error, "a")
    assert not partial.complete(eof_clean=True)


def test_the_word_error_in_an_answer_is_no_error() -> None:
    """A null error, or the word within text, changes nothing."""
    assert folded(chunk({"content": 'say "error"'}, error=None) + event({"error": None, "x": '"error"'})).error is None


def test_an_unusable_id_is_not_taken() -> None:
    """Ids that are empty, long or not visible ASCII name nothing; the next usable one does. Names are cut safely."""
    blocks = [event({"id": ident, "choices": [], "model": "m\ud800" * 200}) for ident in ("", "a b", "ü", "x" * 300)]
    partial = folded(*blocks)
    assert (partial.upstream_id, WIRE.peek_id(b"".join(blocks))) == (None, None)
    assert partial.upstream_model is not None
    assert partial.upstream_model == "m\ufffd" * 128
    WIRE.fold(chunk(), partial)
    assert (partial.upstream_id, WIRE.peek_id(b"".join(blocks) + chunk())) == ("chatcmpl-1", "chatcmpl-1")
    assert WIRE.peek_id(b": x\n\ndata: [DONE]\n\ndata: 7\n\n") is None


def closing(partial: Partial, usage: Usage | None = None, **more: Any) -> list[Any]:
    """The closing events, parsed; text for what is no JSON."""
    raw = WIRE.closing(partial, finish_reason="cancelled", usage=usage, comment="task 7 client", **more)
    assert raw == b"" or raw.startswith(b": task 7 client\n\n")
    return ["[DONE]" if each.data == b"[DONE]" else json.loads(each.data) for each in events(raw)]


def test_closing_ends_every_open_choice() -> None:
    """Each choice without a finish reason gets one, then usage, then `[DONE]`, under the upstream's own names."""
    partial = folded(chunk({"content": "a"}, index=1), chunk({}, "stop", 0), chunk({"content": "c"}, index=2))
    one, two, usage, done = closing(partial, Usage(3, 4, 1, 2))
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 7, "model": "m"}
    end: dict[str, Any] = {"delta": {}, "logprobs": None, "finish_reason": "cancelled"}
    assert one == {**head, "choices": [{"index": 1, **end}]}
    assert two == {**head, "choices": [{"index": 2, **end}]}
    assert usage == {
        **head,
        "choices": [],
        "usage": {
            "prompt_tokens": 3,
            "completion_tokens": 4,
            "total_tokens": 7,
            "prompt_tokens_details": {"cached_tokens": 1},
            "completion_tokens_details": {"reasoning_tokens": 2},
        },
    }
    assert done == "[DONE]"


def test_closing_before_anything_came() -> None:
    """Stopped before the first event, choice 0 is ended under the names we give; unknown counts are null."""
    end, usage, done = closing(Partial(), Usage(), answer_id="msg-1", model="asked", created=5)
    assert (end["id"], end["model"], end["created"]) == ("msg-1", "asked", 5)
    assert [choice["index"] for choice in end["choices"]] == [0]
    assert usage["usage"] == {"prompt_tokens": None, "completion_tokens": None, "total_tokens": None}
    assert done == "[DONE]"


def test_closing_repeats_nothing() -> None:
    """What the upstream already sent (finish reasons, the usage chunk, `[DONE]`) is not sent again."""
    partial = folded(chunk({}, "stop"))
    assert closing(partial) == ["[DONE]"]
    WIRE.fold(event({"choices": [], "usage": {"completion_tokens": 4}}), partial)
    assert closing(partial, Usage(3, 4)) == ["[DONE]"]
    WIRE.fold(b"data: [DONE]\n\n", partial)
    assert closing(partial, Usage(3, 4)) == []


@pytest.mark.parametrize("name", CHAT_STREAMS)
def test_a_stopped_recording_folds_to_a_whole_answer(name: str) -> None:
    """Stopped behind any event, the stream with its closing frames has one finish reason for each choice seen."""
    body, at = recorded(name), 0
    for raw, _ in slices(body):
        partial = folded(body[:at])
        frames = WIRE.closing(partial, finish_reason="stop", usage=Usage(1, 2), comment="x")
        ended = folded(body[:at] + frames)
        assert ended.done
        assert ended.usage is not None or partial.done
        assert ended.all_finished() or partial.done
        assert not ended.trailing
        assert ended.text() == partial.text()
        at += len(raw)


def test_the_error_frame() -> None:
    """An error of ours is one event that SDKs raise."""
    assert WIRE.error_frame(Partial(), "m\n", "t", "c") == (
        b'data: {"error":{"message":"m\\n","type":"t","param":null,"code":"c"}}\n\n'
    )


@pytest.mark.parametrize(
    ("found", "extra"),
    [
        ({"choices": [], "usage": {"total_tokens": 1}}, True),
        ({"choices": [], "usage": {}, "timings": {}}, True),
        ({"choices": [], "usage": None}, False),
        ({"choices": [], "prompt_filter_results": []}, False),
        ({"choices": [{"index": 0, "delta": {}}], "usage": {"total_tokens": 1}}, False),
        ({"choices": [{"delta": {"content": '"choices":[] "usage":{}'}}]}, False),
        ({"usage": {"total_tokens": 1}}, False),
    ],
)
def test_only_the_chunk_for_usage_alone_is_stripped(found: object, extra: bool) -> None:
    """The chunk without choices and with a usage object goes, any other chunk stays byte for byte."""
    for separators in ((",", ":"), (", ", ": "), (" ,", " : ")):
        data = json.dumps(found, separators=separators).encode()
        assert WIRE.is_extra_usage(data) is extra
        around = (b": note\n\n" + chunk({"content": "a"}, usage=None), b"id: 4\r\ndata: [DONE]\r\n\r\n")
        block = around[0] + encode_event(data) + around[1]
        assert WIRE.without_extra_usage(block) == (b"".join(around) if extra else block)


def test_stripping_the_recorded_usage_gives_the_stream_without_it() -> None:
    """A recording with usage loses exactly one event."""
    body = recorded("llama-chat-usage")
    stripped = WIRE.without_extra_usage(body)
    assert [raw for raw, _ in slices(body) if raw not in stripped] == [slices(body)[-2][0]]
    assert WIRE.without_extra_usage(recorded("transformers-chat")) == recorded("transformers-chat")


@pytest.mark.parametrize(
    ("block", "done"),
    [
        (b"data: [DONE]\n\n", True),
        (b"data:[DONE]\r\n\r\n", True),
        (b"data: [DONE] \r\r", True),
        (chunk({"content": "a"}) + b"data: [DONE]\n\n", True),
        (b"data: [DONE]\n\n: bye\n\n", True),
        (b"data: [DONE]\n\n" + chunk(), False),
        (chunk({"content": "[DONE]"}), False),
        (chunk({"content": "data: [DONE]\n\n"}), False),
        (b": [DONE]\n\n", False),
        (b"data: a\ndata: [DONE]\n\n", False),
        (b"", False),
    ],
)
def test_done_is_told_from_text(block: bytes, done: bool) -> None:
    """Only an event whose data is `[DONE]` ends the stream, and only as the block's last event."""
    assert WIRE.is_done(block) is done


@pytest.mark.parametrize("server", ["llama", "llamapy", "transformers"])
def test_plain_answers_are_folded(server: str) -> None:
    """A whole JSON answer gives the same facts as a stream."""
    found = json.loads(recorded(f"{server}-chat-plain"))
    partial = Partial()
    WIRE.fold_answer(recorded(f"{server}-chat-plain"), partial)
    assert partial.text() == found["choices"][0]["message"]["content"]
    assert partial.upstream_id == found["id"]
    assert partial.finish_reasons == {0: "length"}
    assert partial.usage is not None
    assert partial.usage.completion_tokens == found["usage"]["completion_tokens"]
    assert partial.usage_is_final
    assert not partial.usage_chunk
    assert partial.complete(eof_clean=True)


@pytest.mark.parametrize("name", ["llama-error-400", "llama-error-json"])
def test_error_answers_are_folded(name: str) -> None:
    """An error answer gives its message and is no whole answer."""
    partial = Partial()
    WIRE.fold_answer(recorded(name), partial)
    assert partial.error is not None
    assert partial.error.message == json.loads(recorded(name))["error"]["message"]
    assert not partial.complete(eof_clean=True)


def test_a_cut_answer_is_not_whole() -> None:
    """U10: a JSON answer cut at any byte is not whole, be the end of its body ever so proper."""
    body = recorded("llamapy-chat-plain")
    for cut in range(len(body)):
        partial = Partial()
        WIRE.fold_answer(body[:cut], partial)
        assert not partial.complete(eof_clean=True)
        assert partial.bad_events == 1


@given(
    st.lists(
        st.sampled_from([b"data: ", b'{"choices":[{"delta":', b'{"content":"a"}', b"}]}", b"[DONE]", b"\n", b"\r"])
    )
)
def test_no_bytes_make_it_raise(pieces: list[bytes]) -> None:
    """U28: fragments in any order are folded, peeked at and stripped without an exception."""
    block = b"".join(pieces)
    folded(block)
    WIRE.fold_answer(block, Partial())
    WIRE.peek_id(block)
    assert WIRE.without_extra_usage(block) == block
