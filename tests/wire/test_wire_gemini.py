"""The wire format of Gemini's API: answers and events as the API documents them."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.partial import Partial, safe_text
from proxy.core.sse import Framer, events, slices
from proxy.core.usage import Usage
from proxy.wire.gemini import Gemini
from support.chat import text
from support.gemini import ID, MODEL, answer, answer_events, answers, sse, usage, whole

WIRE = Gemini()
STREAM = b"".join(answer_events(4))
ERROR = {"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}}
BARE = json.dumps(ERROR, indent=2).encode()
"""An error in the middle of a stream, as the API writes it: JSON in several lines, no event."""


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


def closing(partial: Partial, *, reason: str = "stop", counts: Usage | None = None) -> list[dict[str, Any]]:
    """The events that end a stopped stream: nothing but `data: ` lines, which is all that Google's clients take."""
    frames = WIRE.closing(
        partial, finish_reason=reason, usage=counts, comment="quell: t-1", answer_id="a-b", model="asked", created=9
    )
    lines = frames.decode().splitlines()
    assert all(line.startswith("data: {") or not line for line in lines)
    return [json.loads(line.removeprefix("data: ")) for line in lines if line]


def test_a_stream() -> None:
    """A stream folds to its text, its last counts, id and model, and is whole with its reason to finish."""
    partial = folded(STREAM)
    assert (partial.text(), partial.finish_reasons) == (text(4), {0: "STOP"})
    assert (partial.usage, partial.usage_is_final) == (Usage(7, 4), True)
    assert (partial.upstream_id, partial.upstream_model) == (ID, f"{MODEL}-001")
    assert (partial.bad_events, partial.complete(eof_clean=False)) == (0, True)
    assert WIRE.peek_id(answer_events(1)[0]) == ID


@pytest.mark.parametrize("body", [STREAM, STREAM.replace(b"\r", b""), b"".join([*answer_events(2)[:2], BARE, b"\n\n"])])
def test_any_cut_gives_the_same_fold(body: bytes) -> None:
    """However a stream's bytes are cut, the fold is the same."""
    expected = facts(folded(body))
    for at in range(len(body)):
        framer, partial = Framer(), Partial()
        for piece in (body[:at], body[at:]):
            WIRE.fold(framer.push(piece), partial)
        WIRE.fold(framer.flush(), partial)
        assert facts(partial) == expected


def test_a_stop_anywhere() -> None:
    """Stopped after any event, a stream ends with a last answer that has a reason; a whole one gets none."""
    pieces = [raw for raw, _ in slices(STREAM)]
    for at in range(len(pieces) - 1):
        (last,) = closing(folded(b"".join(pieces[:at])), counts=Usage(7, 3))
        (candidate,) = last["candidates"]
        assert (candidate["finishReason"], candidate["index"]) == ("STOP", 0)
        assert last["usageMetadata"] == {"promptTokenCount": 7, "candidatesTokenCount": 3, "totalTokenCount": 10}
    assert closing(folded(STREAM)) == []


def test_the_last_answer() -> None:
    """It names task and cause, and has the upstream's model and id, or ours where none was named yet."""
    (last,) = closing(folded(answer_events(2)[0]))
    assert last["candidates"][0]["finishMessage"] == "quell: t-1"
    assert (last["modelVersion"], last["responseId"]) == (f"{MODEL}-001", ID)
    (first,) = closing(Partial(), reason="cancelled", counts=Usage(7, 5, 2, 3))
    assert (first["modelVersion"], first["responseId"]) == ("asked", "a-b")
    assert first["candidates"][0]["finishReason"] == "OTHER"
    assert first["usageMetadata"] == {
        "promptTokenCount": 7,
        "cachedContentTokenCount": 2,
        "candidatesTokenCount": 2,
        "thoughtsTokenCount": 3,
        "totalTokenCount": 12,
    }


def test_several_candidates() -> None:
    """Each candidate is a choice; a stop ends those that have no reason yet."""
    partial = folded(
        sse(answer({"text": "a"}, index=0)), sse(answer({"text": "b"}, index=1)), sse(answer(reason="STOP", index=0))
    )
    assert (partial.text(0), partial.text(1), partial.complete(eof_clean=True)) == ("a", "b", False)
    assert [each["index"] for each in closing(partial)[0]["candidates"]] == [1]


def test_parts_of_every_kind() -> None:
    """Text is text, a thought is reasoning, a call and code that was run are tool calls; results are no answer."""
    partial = folded(
        sse(
            answer(
                {"text": "So far", "thought": True},
                {"text": "Hello", "thoughtSignature": "c2ln"},
                {"functionCall": {"id": "f", "name": "look", "args": {"x": 1}}},
                {"functionCall": {"name": "go"}},
                {"executableCode": {"language": "PYTHON", "code": "1+1"}},
                {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "2"}},
                {"inlineData": {"mimeType": "image/png", "data": "AAAA"}},
            )
        )
    )
    assert (partial.text(), partial.reasoning()) == ("Hello", "So far")
    assert partial.tool_calls() == [("f", "look", '{"x":1}'), ("", "go", "{}"), ("", "executableCode", "1+1")]


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        (usage(said=3), Usage(7, 3)),
        (usage(), Usage(7)),
        (usage(said=3, thoughtsTokenCount=2, cachedContentTokenCount=5), Usage(7, 5, 5, 2)),
        (usage(thoughtsTokenCount=2, toolUsePromptTokenCount=4), Usage(11, 2, None, 2)),
        ({**usage(), "candidatesTokenCount": "3"}, Usage(7, invalid=True)),
    ],
)
def test_the_counts_while_it_runs(counts: dict[str, Any], expected: Usage) -> None:
    """Each answer has the counts so far; what tools gave back is prompt, what was thought is completion."""
    partial = folded(sse(answer({"text": "a"}, counts=counts)))
    assert (partial.usage, partial.usage_is_final) == (expected, False)


def test_running_totals_are_not_added_up() -> None:
    """Of the counts the last one stands."""
    partial = folded(*answer_events(6)[:4])
    assert (partial.usage, partial.usage_is_final) == (Usage(7, 4), False)


@pytest.mark.parametrize(("part", "expected"), [({"text": ""}, Usage(7, 0)), ({"text": "a"}, Usage(7))])
def test_a_count_that_is_left_out_at_the_end(part: dict[str, Any], expected: Usage) -> None:
    """The API leaves out a count of 0; where text came, a missing one is unknown."""
    assert folded(sse(answer(part, reason="STOP", counts=usage()))).usage == expected


def test_a_blocked_prompt() -> None:
    """A prompt that is refused is a whole answer without candidates, with the block's reason."""
    partial = folded(sse({"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": usage(), "responseId": ID}))
    assert (partial.finish_reasons, partial.usage, partial.complete(eof_clean=False)) == (
        {0: "SAFETY"},
        Usage(7, 0),
        True,
    )
    assert not folded(sse({"promptFeedback": {"safetyRatings": []}})).complete(eof_clean=True)


@pytest.mark.parametrize("error", [sse(ERROR), sse([ERROR]), BARE, BARE.replace(b"\n", b"\r\n"), b"[" + BARE + b"]"])
def test_errors_in_the_stream(error: bytes) -> None:
    """An error is noted, as an event or as bare JSON in several lines; nothing is put behind it."""
    partial = folded(b"".join(answer_events(2)[:2]) + error)
    assert partial.error is not None
    assert (partial.error.message, partial.error.type, partial.error.code) == (
        "The model is overloaded.",
        "UNAVAILABLE",
        "503",
    )
    assert (partial.text(), partial.complete(eof_clean=True), closing(partial)) == (text(2), False, [])


def test_words_in_a_text_are_no_error() -> None:
    """An answer that speaks of errors is none."""
    assert folded(sse(answer({"text": '"error": {'})), b': "error"\n\n').error is None


@pytest.mark.parametrize(
    ("code", "status", "word"),
    [("upstream_reset", 502, "UNAVAILABLE"), ("upstream_idle_timeout", 504, "DEADLINE_EXCEEDED")],
)
def test_our_own_error_event(code: str, status: int, word: str) -> None:
    """What breaks on the way is told as Google's error object."""
    (found,) = events(WIRE.error_frame(Partial(), "Broken.", "upstream_error", code))
    assert json.loads(found.data) == {"error": {"code": status, "message": "Broken.", "status": word}}


def test_another_servers_terminator() -> None:
    """A gateway that ends every stream in OpenAI's way is understood."""
    done = b"data: [DONE]\n\n"
    assert (folded(STREAM + done).done, WIRE.is_done(done), WIRE.is_done(sse(whole()))) == (True, True, False)
    assert folded(STREAM + done, STREAM).trailing


ARRAY = json.dumps(answers(4), indent=1).encode()


@pytest.mark.parametrize(
    ("body", "said", "complete"),
    [
        (json.dumps(whole(3)).encode(), text(3), True),
        (json.dumps(whole(3), indent=2).encode() + b"\n", text(3), True),
        (ARRAY, text(4), True),
        (ARRAY[: ARRAY.index(b"night")], text(3), False),
        (ARRAY[: ARRAY.index(b",\n {")], text(1), False),
        (b'{"candidates": []}', "", True),
        (b'{"candidates": []', "", False),
        (json.dumps(ERROR).encode(), "", False),
        (json.dumps([ERROR]).encode(), "", False),
        (b"[]", "", False),
        (b"nonsense", "", False),
    ],
)
def test_whole_answers(body: bytes, said: str, complete: bool) -> None:
    """A whole answer gives its text; the array of a stream that is not sent as events does so as far as it came."""
    partial = Partial()
    WIRE.fold_answer(body, partial)
    assert (partial.text(), partial.complete(eof_clean=True)) == (said, complete)


def test_the_prompt_for_counting() -> None:
    """Contents are counted as messages, behind the system prompt in either spelling."""
    system, parts = {"parts": [{"text": "Be brief."}]}, [{"text": "Hi"}]
    for key in ("systemInstruction", "system_instruction"):
        found = WIRE.countable(json.dumps({key: system, "contents": [{"role": "user", "parts": parts}]}).encode())
        assert json.loads(found)["messages"] == [
            {"role": None, "content": [{"text": "Be brief."}]},
            {"role": "user", "content": parts},
        ]
    assert json.loads(WIRE.countable(b"nonsense")) == {"messages": []}


KEYS = (
    *("candidates", "content", "parts", "text", "thought", "functionCall", "args", "finishReason", "index", "error"),
    *("usageMetadata", "promptTokenCount", "candidatesTokenCount", "promptFeedback", "blockReason", "responseId"),
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5),
    max_leaves=12,
)


@given(st.lists(VALUES, max_size=5))
def test_no_event_makes_it_raise(found: list[Any]) -> None:
    """Whatever the events say, they fold, and the stream can be closed and counted."""
    written = [json.dumps(each).encode() for each in found]
    partial = folded(b"".join(b"data: %b\n\n" % each for each in written))
    WIRE.closing(partial, finish_reason="stop", usage=partial.usage, comment="c")
    for _, counted in partial.counted_texts():
        safe_text(counted.value()).encode()
    for each in written:
        WIRE.fold_answer(each, Partial())
        WIRE.peek_id(b"data: %b\n\n" % each)
        WIRE.countable(each)


@given(st.binary(max_size=60) | st.sampled_from([b'{"error"', b'[{"error": 1}', b"[[[[", b"{" * 5000]))
def test_no_bytes_make_it_raise(found: bytes) -> None:
    """Bytes that are no events, or no JSON, are passed over."""
    folded(found, b"data: " + found + b"\n\n")
    WIRE.fold_answer(found, Partial())
    WIRE.peek_id(found)
    WIRE.is_done(found)
