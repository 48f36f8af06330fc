"""Deltas: each addition to the first choice, one for one and in order."""

from proxy.core.deltas import Delta, DeltaKind, DeltaPartial
from proxy.wire.openai_chat import OpenAIChat
from support.chat import chat_events, sse


def chunk(delta: dict[str, object], index: int = 0, finish: str | None = None) -> bytes:
    """One chunk of a chat completion."""
    return sse({"id": "c-1", "choices": [{"index": index, "delta": delta, "finish_reason": finish}]})


def test_every_kind_of_addition() -> None:
    """Text, reasoning, refusal, the pieces of a tool call and the finish come out as they came in."""
    call = {"index": 1, "id": "call_1", "function": {"name": "look", "arguments": '{"a"'}}
    partial = DeltaPartial()
    block = b"".join(
        [
            chunk({"reasoning_content": "Hm."}),
            chunk({"content": "One"}),
            chunk({"refusal": "No."}),
            chunk({"tool_calls": [call]}),
            chunk({"tool_calls": [{"index": 1, "function": {"arguments": ":1}"}}]}),
            chunk({}, finish="tool_calls"),
        ]
    )
    OpenAIChat().fold(block, partial)
    assert partial.take_deltas() == [
        Delta(DeltaKind.REASONING, "Hm."),
        Delta(DeltaKind.TEXT, "One"),
        Delta(DeltaKind.REFUSAL, "No."),
        Delta(DeltaKind.TOOL_CALL, '{"a"', 1, "call_1", "look"),
        Delta(DeltaKind.TOOL_CALL, ":1}", 1),
        Delta(DeltaKind.FINISH, "tool_calls"),
    ]


def test_deltas_are_taken_once() -> None:
    """What was taken does not come again, and one event is one delta, however many of them come at once."""
    partial = DeltaPartial()
    OpenAIChat().fold(b"".join(chat_events(3)[:4]), partial)
    assert [delta.text for delta in partial.take_deltas()] == ["Rain ", "fell ", "all "]
    assert partial.take_deltas() == []
    assert partial.text() == "Rain fell all "


def test_other_choices_are_not_said() -> None:
    """Of several choices only the first is said; the others are kept and counted all the same."""
    partial = DeltaPartial()
    OpenAIChat().fold(chunk({"content": "one"}) + chunk({"content": "two"}, index=1), partial)
    assert [delta.text for delta in partial.take_deltas()] == ["one"]
    assert partial.counted_characters == 6


def test_halves_of_a_character_are_said_together() -> None:
    """A surrogate pair that two events share comes as one character, and a half that stays alone as U+FFFD."""
    partial = DeltaPartial()
    fold = OpenAIChat().fold
    for piece in (b'"a\\ud83d"', b'"\\ude00b"', b'"c\\ud83d"'):
        fold(b'data: {"choices":[{"index":0,"delta":{"content":' + piece + b"}}]}\n\n", partial)
    fold(chunk({}, finish="stop"), partial)
    assert [delta.text for delta in partial.take_deltas()] == ["a", "\U0001f600b", "c", "\ufffd", "stop"]
