"""The response as it grows: which events deltas become, that they are as the package's types say, and again."""

import random
from typing import Any

import pytest

from proxy.core.deltas import Delta, DeltaKind
from proxy.dialects.responses.draft import Draft
from proxy.dialects.responses.parts import deltas_of
from proxy.dialects.responses.request import read_request
from support.responses import told, types

ID = "resp_" + "0123456789abcdef" * 2
TEXT, THOUGHT = DeltaKind.TEXT, DeltaKind.REASONING


def a_draft(**fields: Any) -> Draft:
    """A response to the smallest request."""
    asked = read_request({"model": "m", "input": "Hi", **fields}, None)
    return Draft(ID, "m", 1_700_000_000, asked.shown)


def say(draft: Draft, deltas: list[Delta], status: str = "completed", **end: Any) -> bytes:
    """A whole stream."""
    return draft.begin() + draft.answered() + b"".join(map(draft.add, deltas)) + draft.finish(status, None, **end)


def test_text() -> None:
    """Text is one message with one part; each delta an event; the done events and the end have the whole text."""
    events = told(say(a_draft(), [Delta(TEXT, "Hel"), Delta(TEXT, "lo"), Delta(DeltaKind.FINISH, "stop")]))
    assert types(events) == [
        *("created", "in_progress", "output_item.added", "content_part.added", "output_text.delta"),
        *("output_text.done", "content_part.done", "output_item.done", "completed"),
    ]
    assert [event["delta"] for event in events if "delta" in event] == ["Hel", "lo"]
    message = {"type": "message", "role": "assistant", "status": "completed"}
    part = {"type": "output_text", "text": "Hello", "annotations": [], "logprobs": []}
    assert events[-1]["response"]["output"] == [{**message, "id": events[2]["item"]["id"], "content": [part]}]
    assert events[-1]["response"]["status"] == "completed"


def test_the_background_is_queued_first() -> None:
    """A response in the background says `queued` before `in_progress`, each with that status."""
    events = told(say(a_draft(background=True), [Delta(TEXT, "a")]))
    assert [(event["type"], event["response"]["status"]) for event in events[:3]] == [
        ("response.created", "queued"),
        ("response.queued", "queued"),
        ("response.in_progress", "in_progress"),
    ]


def test_reasoning_and_refusal() -> None:
    """Reasoning is an item of its own that ends when the answer begins; a refusal is a further part of the message."""
    events = told(say(a_draft(), [Delta(THOUGHT, "Hm"), Delta(TEXT, "I "), Delta(DeltaKind.REFUSAL, "won't.")]))
    assert types(events)[2:] == [
        *("output_item.added", "content_part.added", "reasoning_text.delta"),
        *("reasoning_text.done", "content_part.done", "output_item.done"),
        *("output_item.added", "content_part.added", "output_text.delta", "output_text.done", "content_part.done"),
        *("content_part.added", "refusal.delta", "refusal.done", "content_part.done", "output_item.done", "completed"),
    ]
    thought, message = events[-1]["response"]["output"]
    assert thought["content"] == [{"type": "reasoning_text", "text": "Hm"}]
    assert [part["type"] for part in message["content"]] == ["output_text", "refusal"]


def test_calls_that_are_interleaved() -> None:
    """Calls of functions stay apart, by their place, however an upstream mixes their arguments."""
    deltas = [
        Delta(DeltaKind.TOOL_CALL, "", 0, "call_a", "f"),
        Delta(DeltaKind.TOOL_CALL, '{"x"', 1, "call_b", "g"),
        Delta(DeltaKind.TOOL_CALL, "{}", 0),
        Delta(DeltaKind.TOOL_CALL, ":1}", 1),
    ]
    events = told(say(a_draft(), deltas))
    calls = [(item["call_id"], item["name"], item["arguments"]) for item in events[-1]["response"]["output"]]
    assert calls == [("call_a", "f", "{}"), ("call_b", "g", '{"x":1}')]
    done = [event for event in events if event["type"] == "response.function_call_arguments.done"]
    assert [event["arguments"] for event in done] == ["{}", '{"x":1}']


def test_calls_that_are_named_late_or_not_at_all() -> None:
    """A call has one id from its beginning, ours where the upstream gives none then, and the name that comes later."""
    call = DeltaKind.TOOL_CALL
    events = told(
        say(a_draft(), [Delta(call, "", 0), Delta(call, "{}", 0, "call_1", "f"), Delta(call, "{}", 1, "", "g")])
    )
    begun = [event["item"]["call_id"] for event in events if event["type"] == "response.output_item.added"]
    output = events[-1]["response"]["output"]
    assert all(begun)
    assert len(set(begun)) == 2
    assert [(each["call_id"], each["name"]) for each in output] == [(begun[0], "f"), (begun[1], "g")]


@pytest.mark.parametrize(
    ("status", "end"),
    [("cancelled", {}), ("failed", {"error": {"code": "server_error", "message": "Oh."}})],
)
def test_what_is_cut_off(status: str, end: dict[str, Any]) -> None:
    """A stream that is cut off ends with one event that has the whole response; what was open is incomplete."""
    events = told(say(a_draft(), [Delta(THOUGHT, "Hm"), Delta(TEXT, "Hel")], status, **end))
    assert types(events)[-3:] == ["content_part.added", "output_text.delta", status]
    assert [item["status"] for item in events[-1]["response"]["output"]] == ["completed", "incomplete"]


def test_incomplete() -> None:
    """A response that became too long closes its message, and says why."""
    events = told(say(a_draft(), [Delta(TEXT, "a")], "incomplete", incomplete_details={"reason": "max_output_tokens"}))
    assert types(events)[-2:] == ["output_item.done", "incomplete"]
    assert events[-1]["response"]["output"][0]["status"] == "incomplete"


def random_deltas(chance: random.Random) -> list[Delta]:
    """An answer of any kind: reasoning, text, refusals and calls, in any order, in pieces of any size."""
    found = []
    for _ in range(chance.randrange(40)):
        kind = chance.choice((TEXT, TEXT, THOUGHT, DeltaKind.REFUSAL, DeltaKind.TOOL_CALL))
        text = "".join(chance.choices('ab\n"\u20ac\U0001f600', k=chance.randrange(5)))
        place = chance.randrange(3)
        if kind is DeltaKind.TOOL_CALL:
            found.append(Delta(kind, text, place, f"call_{place}", f"f{place}"))
        else:
            found.append(Delta(kind, text))
    return found


def test_said_again() -> None:
    """What is kept of a response gives the same stream again, byte for byte: 300 random answers, ended in any way."""
    chance = random.Random(4)
    for _ in range(300):
        deltas = random_deltas(chance)
        status, end = chance.choice((("completed", {"completed_at": 7}), ("cancelled", {}), ("incomplete", {})))
        draft, second = a_draft(), a_draft()
        said = say(draft, deltas, status, **end)
        told(said)
        second_said = second.begin() + second.answered()
        second_said += second.said_again(draft.log, deltas_of(draft.object()["output"]))
        assert second_said + second.finish(status, None, **end) == said
        live = a_draft()
        assert live.begin() + live.answered() + live.said_again(draft.log, draft.pieces()) == second_said
