"""Tests of proxy.wire.openai_fold: chunks read and added in one go give what one by one gives."""

import json

from hypothesis import example, given
from hypothesis import strategies as st

from proxy.core.partial import Partial
from proxy.wire.chunks import read_chunks
from proxy.wire.openai_chat import OpenAIChat

WIRE = OpenAIChat()
NAMED = b'{"id":"c-1","model":"m","created":1,"choices":[{"index":0,"delta":{"content":"first "}}]}'


def delta(index: int = 0, reason: str | None = None, **fields: object) -> bytes:
    """A chunk with one choice."""
    return json.dumps({"choices": [{"index": index, "delta": fields, "finish_reason": reason}]}).encode()


CALL = {"index": 0, "id": "call_1", "function": {"name": "f", "arguments": "{"}}
CHUNKS = [
    NAMED,
    delta(content="a"),
    delta(content="\N{GRINNING FACE}\u2028"),
    delta(content=""),
    delta(content="\ud83d"),
    delta(1, content="b"),
    delta(1, "length", content="c"),
    delta(0, "stop"),
    delta(reasoning_content="think", content="say"),
    delta(tool_calls=[CALL]),
    delta(content=7),
    b'{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2}}',
    b'{"choices":[{"text":"old"}]}',
    b'{"choices":[{"text":"a"},{"index":1,"text":"b"}]}',
    b'{"object":"error","message":"broke"}',
    b'{"error":{"message":"broke"}}',
    b'{"choices":null}',
    b"[DONE]",
    b"",
    b" {} ",
    b"{}{}",
    b"{},{}",
    b"{}],[{}",
    b'{"a":',
    b"1}",
    b'{"a":"{}',
    b'{}"}',
    b'{"x":[[{}',
    b"{}]]}",
    b"7",
    b"no JSON",
]


@given(st.lists(st.sampled_from(CHUNKS), max_size=12), st.sampled_from([3, 1000]))
@example([NAMED, b"{}{}", b'{"a":', b"1}"], 1000)
@example([NAMED, b'{"a":"{}', b'{}"}', b"{}{}"], 1000)
@example([NAMED, delta(content="ab"), delta(content="cd"), b"[DONE]", delta(content="ef")], 3)
def test_a_block_folds_like_its_events(chunks: list[bytes], most: int) -> None:
    """Whatever the events are and however much is kept: folded as one block or each by itself, all is the same."""
    events = [b"data: " + each + b"\n\n" for each in chunks]
    at_once, one_by_one = Partial(max_text=most), Partial(max_text=most)
    WIRE.fold(b"".join(events), at_once)
    for event in events:
        WIRE.fold(event, one_by_one)
    assert facts(at_once) == facts(one_by_one)


def facts(partial: Partial) -> tuple[object, ...]:
    """All that a partial says."""
    texts = [(partial.text(each), partial.reasoning(each), partial.tool_calls(each)) for each in partial.choices]
    counts = (partial.characters, partial.counted_characters, partial.clipped, partial.bad_events)
    end = (partial.finish_reasons, partial.done, partial.trailing, partial.error, partial.usage, partial.usage_is_final)
    names = (partial.upstream_id, partial.upstream_model, partial.created, partial.usage_chunk)
    return (
        list(partial.choices),
        texts,
        counts,
        end,
        names,
        [(place, text.value()) for place, text in partial.counted_texts()],
    )


def test_plain_chunks_are_read_in_one_go() -> None:
    """Ordinary chunks need no second look, and values that share or cross lines are left to be read one by one."""
    assert len(read_chunks([delta(content="a"), delta(content="b")]) or ()) == 2
    for odd in (
        [b"{}{}", b'{"a":', b"1}"],
        [b"{}", b"{} "],
        [b"{}{}"],
        [b'{"choices":[{"delta":{"content":"\\ud83d"}}]}'],
    ):
        assert read_chunks(odd) is None
