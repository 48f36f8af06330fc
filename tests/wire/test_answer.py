import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.partial import Partial
from proxy.core.sse import encode_event, slices
from proxy.wire.answer import AnswerFold, AnswerTooLargeError
from proxy.wire.openai_chat import OpenAIChat
from support.recordings import CHAT_STREAMS, COMPLETION_STREAMS, recorded


def fold(*blocks: bytes) -> Any:
    """The answer to a stream, parsed."""
    answer = AnswerFold()
    for block in blocks:
        answer.feed(block)
    return json.loads(answer.answer())


def chunk(delta: Any = None, **more: Any) -> bytes:
    """A chat chunk with one choice."""
    choice = {"index": 0, "delta": delta or {}} | more.pop("choice", {})
    return encode_event(json.dumps({"object": "chat.completion.chunk", "choices": [choice], **more}).encode())


def shape(value: Any) -> Any:
    """The keys and kinds of a JSON value, without its contents."""
    match value:
        case dict():
            return {key: shape(each) for key, each in value.items()}
        case list():
            return [shape(value[0])] if value else []
        case _:
            return type(value)


def test_the_answer_has_the_shape_of_the_servers_own() -> None:
    """A folded stream of llama.cpp's server has exactly the members of its plain answer."""
    assert shape(fold(recorded("llama-chat-usage"))) == shape(json.loads(recorded("llama-chat-plain")))


@pytest.mark.parametrize("server", ["llamapy", "transformers"])
def test_the_answer_lacks_nothing_that_the_stream_had(server: str) -> None:
    """Against the plain answers of the other servers only what their stream never says is missing."""
    plain = shape(json.loads(recorded(f"{server}-chat-plain")))
    found = shape(fold(recorded(f"{server}-chat")))
    assert {key for key in plain if key not in found} <= {"usage"}
    assert found["choices"] == plain["choices"]


@pytest.mark.parametrize("name", CHAT_STREAMS)
def test_the_text_is_the_partials(name: str) -> None:
    """Every choice's text and finish reason are those of the partial, and the answer folds to the same facts."""
    stream, answer = Partial(), Partial()
    OpenAIChat().fold(recorded(name), stream)
    found = fold(recorded(name))
    OpenAIChat().fold_answer(json.dumps(found).encode(), answer)
    assert found["object"] == "chat.completion"
    assert (answer.display_text(), answer.finish_reasons) == (stream.display_text(), stream.finish_reasons)
    assert (answer.usage, answer.upstream_id, answer.upstream_model) == (
        stream.usage,
        stream.upstream_id,
        stream.upstream_model,
    )


@pytest.mark.parametrize("name", CHAT_STREAMS + COMPLETION_STREAMS)
def test_event_by_event_is_the_same_as_whole(name: str) -> None:
    """The cut of the stream does not matter."""
    assert fold(*(raw for raw, _ in slices(recorded(name)))) == fold(recorded(name))


def test_completions_have_text() -> None:
    """A completions stream becomes a completions answer."""
    found = fold(recorded("llama-completions"))
    assert found["object"] == "text_completion"
    assert len(found["choices"][0]["text"]) == 200
    assert "message" not in found["choices"][0]
    assert found["usage"]["completion_tokens"] == 40


def test_logprobs_are_joined() -> None:
    """The lists of log probabilities grow with the stream, for chat and for completions."""
    found = fold(recorded("llama-chat-logprobs"))["choices"][0]
    assert "".join(each["token"] for each in found["logprobs"]["content"]) == found["message"]["content"]
    pieces = [
        {"tokens": [t], "token_logprobs": [-1.5], "top_logprobs": None, "text_offset": [n]}
        for n, t in ((0, "a"), (1, "b"))
    ]
    joined = fold(*(chunk(choice={"text": "x", "logprobs": piece}) for piece in pieces))["choices"][0]["logprobs"]
    assert joined == {"tokens": ["a", "b"], "token_logprobs": [-1.5, -1.5], "top_logprobs": None, "text_offset": [0, 1]}


def test_tool_calls_are_merged_by_index() -> None:
    """Pieces of several tool calls, interleaved, become whole calls in order; content is null beside them."""
    found = fold(
        chunk({"role": "assistant", "content": ""}),
        chunk(
            {"tool_calls": [{"index": 1, "id": "b", "type": "function", "function": {"name": "g", "arguments": ""}}]}
        ),
        chunk(
            {"tool_calls": [{"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": "{"}}]}
        ),
        chunk({"tool_calls": [{"index": 1, "id": "", "function": {"name": "g", "arguments": "[]"}}]}),
        chunk({"tool_calls": [{"index": 0, "id": "a", "type": "function", "function": {"arguments": "}"}}]}),
        chunk(choice={"finish_reason": "tool_calls"}),
    )["choices"][0]
    assert found["message"] == {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}},
            {"id": "b", "type": "function", "function": {"name": "g", "arguments": "[]"}},
        ],
    }
    assert found["finish_reason"] == "tool_calls"


def test_unknown_fields_are_kept() -> None:
    """Texts within a delta are joined, lists extended, all else is the last that came; padding is dropped."""
    found = fold(
        chunk(
            {"content": "a", "reasoning_content": "x", "annotations": [1], "audio": {"data": "A"}, "obfuscation": "!"},
            service_tier="auto",
            system_fingerprint="f",
            obfuscation="!",
            usage=None,
        ),
        chunk(
            {"content": "b", "reasoning_content": "y", "annotations": [2], "audio": {"data": "B", "expires_at": 1}},
            service_tier="default",
            citations=["u"],
            choice={"stop_reason": 5},
        ),
        chunk({"refusal": None, "annotations": None}, service_tier=None, usage={"completion_tokens": 1}),
    )
    assert found == {
        "object": "chat.completion",
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": "ab",
                    "reasoning_content": "xy",
                    "annotations": [1, 2],
                    "audio": {"data": "AB", "expires_at": 1},
                    "refusal": None,
                },
                "finish_reason": None,
                "stop_reason": 5,
            }
        ],
        "usage": {"completion_tokens": 1},
        "service_tier": "default",
        "system_fingerprint": "f",
        "citations": ["u"],
    }


def test_odd_values_still_make_valid_json() -> None:
    """A surrogate pair split over two deltas is joined, NaN and infinity become null, huge integers stay."""
    found = fold(
        b'data: {"choices":[{"delta":{"content":"\\ud83d"}}],"x":NaN}\n\n',
        b'data: {"choices":[{"delta":{"content":"\\ude00"}}],"y":1e999,"z":123456789012345678901234567890}\n\n',
    )
    assert found["choices"][0]["message"]["content"] == "😀"
    assert (found["x"], found["y"], found["z"]) == (None, None, 123456789012345678901234567890)


def test_the_error_of_a_stream_is_given() -> None:
    """The first error is there for the caller, and is no member of the answer."""
    answer = AnswerFold()
    answer.feed(chunk({"content": "a"}, error={"message": "m"}) + chunk(error="later") + b"data: [DONE]\n\n")
    assert answer.error == {"message": "m"}
    assert answer.done
    assert "error" not in json.loads(answer.answer())


def test_nothing_behind_done_is_taken() -> None:
    """What comes behind `[DONE]` is no part of the answer."""
    assert fold(chunk({"content": "a"}) + b"data: [DONE]\n\n" + chunk({"content": "b"}))["choices"][0]["message"] == {
        "role": "assistant",
        "content": "a",
    }


@pytest.mark.parametrize(
    "block",
    [
        chunk({"content": "x" * 100}),
        chunk({"tool_calls": [{"index": 0, "function": {"arguments": "x" * 100}}]}),
        chunk({"annotations": [{"a": "b"}]}),
        chunk({"deep": {"er": {"text": "x" * 100}}}),
    ],
)
def test_memory_is_bounded(block: bytes) -> None:
    """An answer that grows without end, in whichever member, is refused."""
    with pytest.raises(AnswerTooLargeError):
        AnswerFold(limit=20_000).feed(1000 * block)


@pytest.mark.parametrize(
    "blocks",
    [
        [chunk(choice={"index": number}) for number in range(1000)],
        [chunk({"tool_calls": [{"index": number}]}) for number in range(1000)],
        [chunk(**{f"k{number}": 1}) for number in range(1000)],
        [chunk({f"k{number}": 1}) for number in range(1000)],
    ],
    ids=["choices", "tool calls", "facts", "members"],
)
def test_new_members_are_bounded_too(blocks: list[bytes]) -> None:
    """So is one that grows by ever new choices, tool calls or names of members."""
    with pytest.raises(AnswerTooLargeError):
        AnswerFold(limit=20_000).feed(b"".join(blocks))


def test_facts_repeated_in_every_chunk_cost_nothing() -> None:
    """A stream of a thousand chunks with the same long facts fits into a small limit."""
    answer = AnswerFold(limit=20_000)
    for _ in range(1000):
        answer.feed(chunk({"content": "x"}, model="m" * 200, timings={"a": "b" * 200}))
    assert len(json.loads(answer.answer())["choices"][0]["message"]["content"]) == 1000


@pytest.mark.parametrize("member", ["content", "tool_calls", "annotations"])
@pytest.mark.parametrize("kinds", ["text,list", "list,text", "list,dict,list", "dict,list", "dict,text", "text,dict"])
def test_members_that_change_their_kind_are_the_last_that_came(member: str, kinds: str) -> None:
    """A member that is a text in one delta and a list or object in the next ends as the last kind."""
    forms: dict[str, Any] = {"text": "a", "list": [{"b": 1}], "dict": {"c": 2}}
    *_, last = order = [forms[kind] for kind in kinds.split(",")]
    found = fold(*(chunk({member: form}) for form in order))
    assert found["choices"][0]["message"][member] == last


KEYS = [
    "choices",
    "delta",
    "message",
    "content",
    "tool_calls",
    "index",
    "text",
    "logprobs",
    "function",
    "name",
    "role",
    "error",
    "usage",
    "object",
    "finish_reason",
]
values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["", "a", "chat.completion.chunk"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=12,
)
choices = st.fixed_dictionaries({"index": values, "delta": values}, optional={"text": values, "message": values})


@given(
    st.lists(st.fixed_dictionaries({"choices": st.lists(choices | values, max_size=3)}, optional={"object": values}))
)
def test_any_json_is_folded_without_an_exception(found: list[Any]) -> None:
    """Whatever JSON an upstream sends, the answer is valid JSON with choices."""
    assert "choices" in fold(*(encode_event(json.dumps(each).encode()) for each in found))


def test_absurd_nesting_is_passed_over() -> None:
    """An event nested hundreds of levels deep does not break the answer."""
    deep = b'{"choices":[{"delta":{"x":' + b"[" * 300 + b"]" * 300 + b"}}]}"
    for data in (deep, b"[" * 5000, b"{"):
        assert fold(chunk({"content": "a"}) + encode_event(data))["choices"][0]["message"]["content"] == "a"
