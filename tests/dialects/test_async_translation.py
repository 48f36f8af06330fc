"""Async messages, the stream: deltas become Anthropic's events, and what is stored says the same stream again."""

import json
import random
from collections.abc import Sequence
from typing import Any

import pytest
from anthropic.lib.streaming._messages import accumulate_event
from anthropic.types import Message as AnthropicMessage
from anthropic.types import RawMessageStreamEvent
from pydantic import TypeAdapter

from proxy.core.conversation import Message, MessageStatus
from proxy.core.deltas import DeltaPartial
from proxy.core.errors import Refusal, UpstreamErrorKind
from proxy.core.lifecycle import Cause, Outcome
from proxy.core.sse import events
from proxy.core.usage import Usage
from proxy.dialects.async_messages.events import Events
from proxy.dialects.async_messages.stored import said_again, status_of
from proxy.dialects.async_messages.translation import MessageTranslation
from proxy.engine.translating.translation import Over
from proxy.wire.openai_chat import OpenAIChat
from support.chat import chat_events, sse

EVENT: TypeAdapter[RawMessageStreamEvent] = TypeAdapter(RawMessageStreamEvent)
DETAILS = {"answer_id": "msg_1f", "model": "m", "message_count": 1, "thinking_enabled": False}
USAGE = Usage(prompt_tokens=7, completion_tokens=5)
NOW = 1000.0


def chunk(finish: str | None = None, **delta: Any) -> bytes:
    """One chunk of an upstream's stream."""
    return sse({"id": "c", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})


def call(place: int, arguments: str, **more: str) -> bytes:
    """A chunk with a piece of a tool call; `id` and `name` in the first one."""
    named = {"id": more["id"]} if "id" in more else {}
    function = {"arguments": arguments, **({"name": more["name"]} if "name" in more else {})}
    return chunk(tool_calls=[{"index": place, "type": "function", "function": function, **named}])


MIXED = [
    chunk(reasoning_content="Let me "),
    chunk(reasoning_content="think."),
    chunk(content="It is "),
    chunk(content="raining 🌧"),
    call(0, "", id="call_a", name="weather"),
    call(0, '{"city":'),
    call(0, '"Bern"}'),
    call(1, '{"city":"Genf"}', id="call_b", name="weather"),
    chunk("tool_calls"),
]


class Told:
    """A translation fed with an upstream's stream, cut as one likes."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self.partial = DeltaPartial()
        self.translation = MessageTranslation("story-1", Events("msg_1f", "m"), DETAILS)
        self.said = self.translation._events.start()
        for piece in pieces:
            OpenAIChat().fold(piece, self.partial)
            self.said += self.translation.deltas(self.partial.take_deltas(), NOW)

    def over(self, outcome: Outcome = Outcome.COMPLETED, usage: Usage = USAGE, **more: Any) -> Over:
        """The end of its generation."""
        known: dict[str, Any] = {"cause": None, "refusal": None, "elapsed": 1.0, "wall": NOW + 1} | more
        return Over(outcome=outcome, usage=usage, partial=self.partial, **known)

    def end(self, over: Over) -> tuple[list[dict[str, Any]], Message]:
        """The whole stream's events, and the message as it is stored."""
        stored = self.translation.stored(over)
        said = self.said + self.translation.ending(over)
        message = Message(
            id="story-1",
            identity="acme",
            dialect="async_messages",
            role="assistant",
            created_at=NOW - 1,
            status=stored.status,
            ended_at=over.wall,
            text=stored.text,
            content=json.loads(json.dumps(stored.content)),
            metadata=json.loads(json.dumps(stored.metadata)),
        )
        return data(said), message


def data(said: bytes) -> list[dict[str, Any]]:
    """The data of each event, whose SSE name must be its type."""
    found = []
    for each in events(said):
        found.append(json.loads(each.data))
        assert each.type == found[-1]["type"]
    return found


def kinds(found: Sequence[dict[str, Any]]) -> list[str]:
    """What the events are, each with the index of its block; deltas of one block in a row count once."""
    told: list[str] = []
    for each in found:
        name = each["type"].removeprefix("content_block_") + (f" {each['index']}" if "index" in each else "")
        if not told or told[-1] != name:
            told.append(name)
    return told


def accumulated(found: Sequence[dict[str, Any]]) -> AnthropicMessage:
    """The message as Anthropic's own client puts it together."""
    message: Any = None
    bufs: dict[int, bytes] = {}
    for each in found:
        event: Any = each
        message = accumulate_event(event=event, current_snapshot=message, json_bufs=bufs)
    assert isinstance(message, AnthropicMessage)
    return message


def cut(whole: bytes, seed: int) -> list[bytes]:
    """Whole events, at random together or alone."""
    parts = [part + b"\n\n" for part in whole.split(b"\n\n")[:-1]]
    chance = random.Random(seed)
    found: list[bytes] = []
    for part in parts:
        if found and chance.random() < 0.5:
            found[-1] += part
        else:
            found.append(part)
    return found


def test_blocks_in_order() -> None:
    """Reasoning, text and calls of tools are blocks one after another, each closed before the next one begins."""
    found, _ = Told(MIXED).end(Told(MIXED).over())
    wanted = ["message_start"]
    for index in range(4):
        wanted += [f"start {index}", f"delta {index}", f"stop {index}"]
    assert kinds(found) == [*wanted, "message_delta", "message_stop"]
    starts = [each["content_block"] for each in found if each["type"] == "content_block_start"]
    assert [each["type"] for each in starts] == ["thinking", "text", "tool_use", "tool_use"]
    assert (starts[2]["id"], starts[2]["name"]) == ("call_a", "weather")
    assert starts[0]["start_timestamp"] == "1970-01-01T00:16:40.000Z"
    ids = {(each["index"], each["block_id"]) for each in found if "index" in each}
    assert len(ids) == len({block_id for _, block_id in ids}) == 4


def test_anthropics_models() -> None:
    """Every event of a complete message is one of Anthropic's models, strictly read, and adds up to its message."""
    told = Told(MIXED)
    found, _ = told.end(told.over())
    for each in found:
        assert EVENT.validate_python(each).type == each["type"]
    message = accumulated(found)
    assert [block.type for block in message.content] == ["thinking", "text", "tool_use", "tool_use"]
    assert message.content[0].to_dict()["thinking"] == "Let me think."
    assert message.content[1].to_dict()["text"] == "It is raining 🌧"
    assert [block.to_dict()["input"] for block in message.content[2:]] == [{"city": "Bern"}, {"city": "Genf"}]
    assert message.stop_reason == "tool_use"
    assert (message.usage.input_tokens, message.usage.output_tokens) == (7, 5)


@pytest.mark.parametrize("seed", range(20))
def test_any_cut(seed: int) -> None:
    """However the upstream's events come together, the same bytes are said."""
    whole = b"".join(MIXED)
    assert Told(cut(whole, seed)).said == Told(MIXED).said == Told([whole]).said


@pytest.mark.parametrize(
    ("finish", "reason"),
    [("stop", "end_turn"), ("length", "max_tokens"), ("content_filter", "refusal"), ("odd", "end_turn")],
)
def test_stop_reasons(finish: str, reason: str) -> None:
    """The upstream's reason to finish has its counterpart; one that nobody knows is an ordinary end."""
    told = Told([chunk(content="Hi"), chunk(finish)])
    found, _ = told.end(told.over())
    assert found[-2]["delta"] == {"stop_reason": reason, "stop_sequence": None}


def test_refusal() -> None:
    """A model's refusal is text, and the message says that it is one."""
    told = Told([chunk(refusal="I won't."), chunk("stop")])
    found, _ = told.end(told.over())
    assert accumulated(found).content[0].to_dict()["text"] == "I won't."
    assert found[-2]["delta"]["stop_reason"] == "refusal"


def test_interleaved_calls() -> None:
    """Calls whose arguments come in turns stay open beside each other; nothing of them is lost."""
    pieces = [call(0, '{"a"', id="x", name="f"), call(1, '{"b"', id="y", name="g"), call(0, ":1}"), call(1, ":2}")]
    told = Told([*pieces, chunk("tool_calls")])
    found, message = told.end(told.over())
    assert [block.to_dict()["input"] for block in accumulated(found).content] == [{"a": 1}, {"b": 2}]
    assert accumulated(data(said_again(message))) == accumulated(found)


def test_late_piece() -> None:
    """What comes for a call that was whole and closed is left out, of the stream and of what is stored."""
    told = Told([call(0, "{}", id="x", name="f"), call(1, "{}", id="y", name="g"), call(0, " "), chunk("stop")])
    found, message = told.end(told.over())
    assert kinds(found)[1:-2] == ["start 0", "delta 0", "stop 0", "start 1", "delta 1", "stop 1"]
    assert [block["said"] for block in message.content] == ["{}", "{}"]


def test_nameless_call() -> None:
    """A call without an id gets one, so that its result can be told apart."""
    told = Told([call(0, "{}", name="f"), chunk("stop")])
    found, _ = told.end(told.over())
    assert found[1]["content_block"]["id"].startswith("toolu_")
    assert found[-2]["delta"]["stop_reason"] == "tool_use"


@pytest.mark.parametrize("cause", [Cause.CLIENT, Cause.OPERATOR, Cause.SHUTDOWN])
def test_cancelled(cause: Cause) -> None:
    """Whoever stops it: every open block is closed, the reason is `cancelled`, the usage is the partial's."""
    pieces = [call(0, '{"a"', id="x", name="f"), call(1, '{"b"', id="y", name="g")]
    told = Told(pieces)
    found, message = told.end(told.over(Outcome.CANCELLED, cause=cause))
    assert kinds(found)[-4:] == ["stop 0", "stop 1", "message_delta", "message_stop"]
    assert found[-2]["delta"]["stop_reason"] == "cancelled"
    assert found[-2]["usage"] == {"input_tokens": 7, "output_tokens": 5}
    assert message.status is MessageStatus.CANCELLED
    assert data(said_again(message))[-1] == {"type": "message_stop"}


def test_cancelled_before_anything() -> None:
    """A stop before the first token ends a message without blocks; nothing was produced, so nothing is counted."""
    told = Told([])
    found, _ = told.end(told.over(Outcome.CANCELLED, Usage(), cause=Cause.CLIENT))
    assert kinds(found) == ["message_start", "message_delta", "message_stop"]
    assert found[-2]["usage"] == {"output_tokens": 0}


def test_failed() -> None:
    """What goes wrong is an `error` event with Anthropic's type, our words and the id, and nothing behind it."""
    told = Told([chunk(content="It is ")])
    refusal = Refusal.upstream(UpstreamErrorKind.IDLE_TIMEOUT)
    found, message = told.end(told.over(Outcome.TIMED_OUT, refusal=refusal))
    assert kinds(found) == ["message_start", "start 0", "delta 0", "error"]
    assert found[-1] == {
        "type": "error",
        "error": {
            "type": "timeout_error",
            "message": refusal.message,
            "detail": {"code": "upstream_idle_timeout", "explanation": refusal.message},
        },
        "request_id": "story-1",
        "exception": {"type": "upstream_idle_timeout", "message": refusal.message},
    }
    assert (message.status, message.text) == (MessageStatus.FAILED, "It is ")
    assert data(said_again(message))[-1] == found[-1]
    assert status_of(message, None)["error_message"] == refusal.message


@pytest.mark.parametrize("outcome", [Outcome.COMPLETED, Outcome.CANCELLED])
def test_said_again(outcome: Outcome) -> None:
    """The stored message gives the same stream, but for the number of its deltas: same ids, blocks, times and end."""
    told = Told(MIXED if outcome is Outcome.COMPLETED else MIXED[:6])
    cause = None if outcome is Outcome.COMPLETED else Cause.CLIENT
    found, message = told.end(told.over(outcome, cause=cause))
    again = data(said_again(message))
    assert kinds(again) == kinds(found)
    assert accumulated(again) == accumulated(found)
    other = "content_block_delta"
    assert [e for e in again if e["type"] != other] == [e for e in found if e["type"] != other]


@pytest.mark.parametrize("seed", range(10))
def test_so_far(seed: int) -> None:
    """A summary of a live stream, and what is said after it, add up to the whole stream."""
    pieces = [*MIXED[:-1], *chat_events(5)]
    at = random.Random(seed).randrange(len(pieces))
    whole = Told(pieces)
    told = Told(pieces[:at])
    said = told.translation.so_far(told.partial)
    for piece in pieces[at:]:
        OpenAIChat().fold(piece, told.partial)
        said += told.translation.deltas(told.partial.take_deltas(), NOW)
    assert accumulated(data(said + told.translation.ending(told.over()))) == accumulated(whole.end(whole.over())[0])


def test_clipped_text() -> None:
    """Of a text that is longer than what is kept, the stored message has the beginning, in its right blocks."""
    told = Told([])
    told.partial.max_text = 10
    for piece in [chunk(reasoning_content="1234567"), chunk(content="abc"), chunk(content="def"), chunk("stop")]:
        OpenAIChat().fold(piece, told.partial)
        told.said += told.translation.deltas(told.partial.take_deltas(), NOW)
    found, message = told.end(told.over())
    assert accumulated(found).content[1].to_dict()["text"] == "abcdef"
    assert [block["said"] for block in message.content] == ["1234567", "abc"]


def interrupted(text: str) -> Message:
    """A message whose process died."""
    status = MessageStatus.INTERRUPTED
    return Message("story-1", "acme", "async_messages", "assistant", NOW, status, text=text, metadata=DETAILS)


def test_interrupted() -> None:
    """A message whose process died shows what was written of it, then an error; its status is `error`."""
    found = data(said_again(interrupted("It is ")))
    assert kinds(found) == ["message_start", "start 0", "delta 0", "error"]
    assert found[2]["delta"]["text"] == "It is "
    assert (found[-1]["error"]["type"], found[-1]["request_id"]) == ("api_error", "story-1")
    assert kinds(data(said_again(interrupted("")))) == ["message_start", "error"]
    status = status_of(interrupted("It is "), None)
    assert (status["status"], status["updated_at"]) == ("error", "1970-01-01T00:16:40.000Z")
    assert "stopped while" in status["error_message"]
