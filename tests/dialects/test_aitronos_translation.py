"""What a response of the dialect aitronos says, without a socket: the same events however the upstream was cut."""

import json
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.conversation import MessageStatus
from proxy.core.deltas import Delta, DeltaKind, DeltaPartial
from proxy.core.errors import Refusal, UpstreamErrorKind
from proxy.core.generation import Facts, Identity
from proxy.core.lifecycle import Cause, Outcome
from proxy.core.sse import Framer
from proxy.core.usage import Usage
from proxy.dialects.aitronos.blocks import Paragraphs
from proxy.dialects.aitronos.translation import Named, ResponseTranslation
from proxy.dialects.aitronos.turn import Turn
from proxy.engine.translating.translation import Over
from proxy.stores.conversations.memory import MemoryConversations
from proxy.stores.conversations.port import Owner
from proxy.wire.openai_chat import OpenAIChat
from support.aitronos import DONE, events_of, tool_events
from support.chat import chat_events
from support.recordings import CHAT_STREAMS, recorded

OWNER = Owner("key:acme", "aitronos")
FACTS = Facts("u", "t-1", "msg_1", Identity("key:acme", "acme"), "aitronos", "/", "up", "m", None, {}, "r", 100.0, 1.0)
TERMINAL = {"response.completed", "response.cancelled", "response.error"}


async def no_wipe(uid: str) -> None:
    """Nothing to wipe here."""
    raise AssertionError(uid)


def a_turn(window: float = 5.0) -> Turn:
    """A turn with a question and its answer."""
    return Turn(OWNER, MemoryConversations(), no_wipe, window, 1.0, ["msg_0", "msg_1"])


def a_translation(turn: Turn | None = None, *, structured: bool = False, ahead: float = 0.0) -> ResponseTranslation:
    """A response's translation, begun."""
    named = Named("thrd_1", "resp_1", "msg_0", metadata={"ticket": "7"})
    found = ResponseTranslation(named, turn or a_turn(), structured=structured, ahead=ahead)
    assert events_of(found.begin(FACTS))[0]["event"] == "response.processing"
    return found


def over(
    partial: DeltaPartial | None = None,
    *,
    outcome: Outcome = Outcome.COMPLETED,
    cause: Cause | None = None,
    refusal: Refusal | None = None,
    elapsed: float = 1.0,
) -> Over:
    """An end."""
    return Over(outcome, cause, refusal, Usage(7, 5), partial or DeltaPartial(), elapsed, 101.0)


def stopped(partial: DeltaPartial, cause: Cause = Cause.CLIENT, elapsed: float = 1.0) -> Over:
    """An end by a stop."""
    return over(partial, outcome=Outcome.CANCELLED, cause=cause, elapsed=elapsed)


def told(body: bytes, cuts: Sequence[int], *, structured: bool = False) -> list[dict[str, Any]]:
    """The events of an upstream's stream that came in pieces, with its end."""
    wire, framer, partial = OpenAIChat(), Framer(), DeltaPartial()
    translation = a_translation(structured=structured)
    said = translation.answered(101.0)
    places = [0, *sorted(cuts), len(body)]
    for start, end in pairwise(places):
        if block := framer.push(body[start:end]):
            wire.fold(block, partial)
            said += translation.deltas(partial.take_deltas(), 101.0)
    found = over(partial)
    translation.stored(found)
    return events_of(said + translation.ending(found))


@pytest.mark.parametrize("name", CHAT_STREAMS)
@pytest.mark.parametrize("structured", [False, True])
@given(data=st.data())
def test_any_cut_gives_the_same_events(name: str, structured: bool, data: st.DataObject) -> None:
    """However a recorded stream arrives in pieces, the events are the same, and one of them ends it."""
    body = recorded(name)
    cuts = data.draw(st.lists(st.integers(0, len(body)), max_size=8))
    whole = told(body, [], structured=structured)
    assert told(body, cuts, structured=structured) == whole
    assert [each["event"] for each in whole if each["event"] in TERMINAL] == ["response.completed"]
    assert whole[-1]["event"] == "response.completed"


def folded(events: Sequence[bytes]) -> tuple[DeltaPartial, list[Delta]]:
    """A partial of these events, and its deltas."""
    partial = DeltaPartial()
    OpenAIChat().fold(b"".join(events), partial)
    return partial, partial.take_deltas()


def test_stop_below_the_window() -> None:
    """An early stop drops both messages and says so once, at the length of what came."""
    turn = a_turn()
    translation = a_translation(turn, ahead=0.5)
    partial, deltas = folded(chat_events(3)[:-2])
    translation.deltas(deltas, 101.0)
    stop = stopped(partial, elapsed=4.4)
    assert translation.stored(stop).drops == ("msg_0", "msg_1")
    assert turn.decision is not None
    assert (turn.decision.is_edit, round(turn.decision.elapsed, 3)) == (True, 4.9)
    ending = translation.ending(stop)
    assert events_of(ending)[-1]["partial_content_length"] == len(partial.text())
    assert ending.count(DONE) == 1


@pytest.mark.parametrize(("ahead", "elapsed"), [(0.0, 5.0), (4.0, 1.0), (100.0, 0.0)])
def test_stop_at_or_above_the_window(ahead: float, elapsed: float) -> None:
    """From the window on, counted from the turn's start, the partial is kept with its mark and the caller's labels."""
    turn = a_turn()
    translation = a_translation(turn, ahead=ahead)
    partial, deltas = folded(chat_events(3)[:-2])
    translation.deltas(deltas, 101.0)
    kept = translation.stored(stopped(partial, elapsed=elapsed))
    assert (kept.status, kept.text, kept.drops) == (MessageStatus.CANCELLED, partial.text(), ())
    assert kept.metadata == {"ticket": "7", "cancelled": True}


@pytest.mark.parametrize("cause", [Cause.DISCONNECT, Cause.SHUTDOWN, Cause.BUDGET])
def test_stop_by_nobody(cause: Cause) -> None:
    """A stop that nobody asked for keeps the partial however early it is, and decides nothing."""
    turn = a_turn()
    kept = a_translation(turn).stored(stopped(DeltaPartial(), cause, elapsed=0.1))
    assert (kept.status, kept.drops, turn.decision) == (MessageStatus.CANCELLED, (), None)


def test_first_decision_stays() -> None:
    """What was decided for a turn is not decided again."""
    turn = a_turn()
    assert turn.decide(4.0).is_edit
    assert turn.decide(6.0).is_edit
    assert turn.decide(6.0).elapsed == 4.0


def test_failed_stream() -> None:
    """A failure is said as an error with its code, after reasoning that it broke off, and ends the stream."""
    translation = a_translation()
    translation.deltas([Delta(DeltaKind.REASONING, "Hm")], 101.0)
    failed = over(outcome=Outcome.FAILED, refusal=Refusal.upstream(UpstreamErrorKind.TRUNCATED))
    assert translation.stored(failed).status is MessageStatus.FAILED
    events = events_of(translation.ending(failed))
    assert [each["event"] for each in events] == ["reasoning.completed", "response.error"]
    assert (events[1]["status"], events[1]["code"]) == ("failed", "MODEL_PROVIDER_ERROR")


def test_stop_before_it_began() -> None:
    """A response that was stopped before the upstream was called, and nothing said, can be stored all the same."""
    translation = ResponseTranslation(Named("thrd_1", "resp_1", "msg_0"), a_turn(), structured=False, ahead=0.0)
    assert translation.stored(stopped(DeltaPartial())).drops == ("msg_0", "msg_1")


def test_several_calls() -> None:
    """Each of several calls is said when the next one begins, the last one at the end, in their order."""
    translation = a_translation()
    pieces = [(0, "call_1", "a", "{"), (0, "", "", "}"), (1, "call_2", "b", '{"x":'), (1, "", "", "1}")]
    deltas = [Delta(DeltaKind.TOOL_CALL, text, place, ident, name) for place, ident, name, text in pieces]
    said = [events_of(translation.deltas([delta], 101.0)) for delta in deltas]
    last = events_of(translation.deltas([Delta(DeltaKind.FINISH, "tool_calls")], 101.0))
    assert [len(each) for each in said] == [0, 0, 1, 0]
    assert [each["block"]["id"] for each in [*said[2], *last]] == ["call_1", "call_2"]
    assert last[0]["block"]["input"] == {"x": 1}
    assert events_of(translation.ending(over()))[0]["event"] == "response.completed"


def test_arguments_that_are_no_json() -> None:
    """Arguments that a model got wrong are passed on as they are, with no input made up."""
    translation = a_translation()
    translation.deltas(folded(tool_events(arguments="{oops"))[1][:-1], 101.0)
    block = events_of(translation.deltas([Delta(DeltaKind.FINISH, "tool_calls")], 101.0))[0]["block"]
    assert (block["input"], block["arguments"]) == (None, "{oops")


@pytest.mark.parametrize(
    ("finish", "reason"), [("stop", "end_turn"), ("length", "max_tokens"), ("content_filter", "end_turn")]
)
def test_stop_reasons(finish: str, reason: str) -> None:
    """The upstream's reason to finish is said in the API's words."""
    translation = a_translation()
    partial, deltas = folded(chat_events(1, finish=finish))
    translation.deltas(deltas, 101.0)
    assert json.loads(translation.answer(over(partial)))["stop_reason"] == reason


@given(st.lists(st.sampled_from(["a", "\n", "\n\n", "```", " ", "bc"]), max_size=30), st.data())
def test_paragraphs(pieces: list[str], data: st.DataObject) -> None:
    """Paragraphs are the same however their text comes, and lose nothing but blank lines."""
    text = "".join(pieces)
    whole = Paragraphs()
    expected = [*whole.feed(text), *whole.rest()]
    cut = data.draw(st.integers(0, len(text)))
    parts = Paragraphs()
    found = [*parts.feed(text[:cut]), *parts.feed(text[cut:]), *parts.rest()]
    assert found == expected
    assert "".join(each["text"] for each in found).replace("\n", "") == text.replace("\n", "")


@pytest.mark.parametrize("outcome", [Outcome.COMPLETED, Outcome.CANCELLED])
def test_blocks_without_a_finish(outcome: Outcome) -> None:
    """What an upstream that gives no reason to finish left open is in the kept blocks as in the last events."""
    translation = a_translation(a_turn(window=0.0), structured=True)
    partial, deltas = folded(chat_events(words=["One.\n\nTwo."], finish=None))
    translation.deltas(deltas, 101.0)
    end = over(partial, outcome=outcome, cause=Cause.CLIENT if outcome is Outcome.CANCELLED else None)
    kept = translation.stored(end)
    assert [block["text"] for block in kept.content["blocks"]] == ["One.", "Two."]
    assert [each["block"]["text"] for each in events_of(translation.ending(end)) if "block" in each] == ["Two."]
