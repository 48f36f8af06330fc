import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.partial import MAX_CHOICES, MAX_TOOL_CALLS, Partial, StreamError, safe_text
from proxy.core.usage import Usage


def test_text_is_joined_in_order() -> None:
    """Pieces of any number come back as one text, also when it is asked for in between."""
    partial = Partial()
    for number in range(200):
        partial.add_content(0, f"{number},")
        if number == 70:
            assert partial.text() == "".join(f"{each}," for each in range(71))
    assert partial.text() == "".join(f"{each}," for each in range(200))
    assert partial.characters == len(partial.text()) == partial.counted_characters


def test_new_text_is_given_once() -> None:
    """Each piece of choice 0 is taken once; joined, what was taken is a prefix of the record's text."""
    partial = Partial()
    taken = [partial.take_new_text()]
    for number in range(150):
        partial.add_content(0, f"{number} ")
        partial.add_content(1, "other")
        if number % 7 == 0:
            taken.append(partial.take_new_text())
    assert partial.take_new_text() != ""
    assert partial.take_new_text() == ""
    assert partial.display_text().startswith("".join(taken))


def test_the_record_shows_other_choices_below_the_first() -> None:
    """The display text is choice 0, then each other choice after a blank line; empty ones leave no gap."""
    partial = Partial()
    partial.add_content(2, "two")
    partial.see(1)
    assert partial.display_text() == "two"
    partial.add_content(0, "zero")
    assert partial.display_text() == "zero\n\ntwo"
    assert partial.take_new_text() == "zero"


def test_a_split_surrogate_pair_is_joined() -> None:
    """Half a pair in one delta and half in the next make one character, also in the ledger's pieces."""
    partial = Partial()
    partial.add_content(0, "a\ud83d")
    assert partial.take_new_text() == "a"
    assert partial.display_text() == "a\ufffd"
    partial.add_content(0, "\ude00b")
    assert partial.take_new_text() == "😀b"
    assert partial.display_text() == "a😀b"


surrogates = st.text(st.sampled_from("aé😀\ud83d\ude00\udfff\ud800"), max_size=6)


@given(st.lists(st.tuples(surrogates, st.booleans()), max_size=30))
def test_texts_that_leave_can_always_be_encoded(pieces: list[tuple[str, bool]]) -> None:
    """Whatever halves come and whenever pieces are taken, all that leaves is UTF-8, and the pieces are a prefix."""
    partial, taken = Partial(), ""
    for piece, takes in pieces:
        partial.add_content(0, piece)
        taken += partial.take_new_text() if takes else ""
    taken.encode()
    assert partial.display_text().encode().startswith(taken.encode())
    assert safe_text("a\ud800") == "a\ufffd"


def test_everything_that_costs_tokens_is_counted() -> None:
    """The counted text has content, reasoning, refusal and tool calls of every choice."""
    partial = Partial()
    partial.add_reasoning(0, "think")
    partial.add_content(0, "say")
    partial.add_refusal(1, "no")
    partial.add_tool_call(0, 1, ident="call_b", name="g", arguments='{"x"')
    partial.add_tool_call(0, 0, ident="call_a", name="f")
    partial.add_tool_call(0, 1, name="g", arguments=":1}")
    assert {place: text.value() for place, text in partial.counted_texts() if text.size} == {
        (0, "content", 0): "say",
        (0, "reasoning", 0): "think",
        (0, "name", 0): "f",
        (0, "name", 1): "g",
        (0, "arguments", 1): '{"x":1}',
        (1, "refusal", 0): "no",
    }
    assert partial.counted_characters == len('saythinkfg{"x":1}no')
    assert partial.characters == 3
    assert partial.reasoning() == "think"
    assert partial.refusal(1) == "no"
    assert partial.tool_calls() == [("call_a", "f", ""), ("call_b", "g", '{"x":1}')]
    assert (partial.text(5), partial.reasoning(5), partial.refusal(0), partial.tool_calls(5)) == ("", "", "", [])


def test_beyond_the_bound_text_is_counted_and_not_kept() -> None:
    """The bound is one for all kinds of text; what is beyond it is still counted, and a flag says so."""
    partial = Partial(max_text=10)
    partial.add_content(0, "abcdef")
    partial.add_reasoning(0, "gh")
    assert not partial.clipped
    partial.add_content(1, "ijkl")
    partial.add_refusal(0, "m")
    partial.add_tool_call(0, 0, name="n", arguments="o")
    assert partial.clipped
    assert "".join(text.value() for _, text in partial.counted_texts()) == "abcdefghij"
    assert (partial.characters, partial.counted_characters) == (10, 15)


def test_choices_and_tool_calls_are_bounded() -> None:
    """An upstream that invents choices or tool calls without end fills no memory."""
    partial = Partial()
    for number in range(2 * MAX_CHOICES):
        partial.add_content(number, "x")
        partial.finish(number, "stop")
    for number in range(2 * MAX_TOOL_CALLS):
        partial.add_tool_call(0, number, name="f")
    assert len(partial.choices) == len(partial.finish_reasons) == MAX_CHOICES
    assert len(partial.tool_calls()) == MAX_TOOL_CALLS
    assert partial.clipped
    assert partial.characters == 2 * MAX_CHOICES


def test_an_empty_partial_is_small() -> None:
    """A generation that has no text yet costs less than a kilobyte."""
    partial = Partial()
    assert not hasattr(partial, "__dict__")
    size = sys.getsizeof(partial) + sys.getsizeof(partial.choices) + sys.getsizeof(partial.finish_reasons)
    assert size < 1024


@pytest.mark.parametrize(
    ("finished", "done", "whole_body", "eof_clean", "complete"),
    [
        ([], False, False, True, False),  # nothing came
        ([None], False, False, True, False),  # a proper end of the body alone proves nothing
        (["stop"], False, False, False, True),
        (["stop", None], False, False, True, False),  # one of two choices is open
        (["stop", "length"], False, False, False, True),
        ([None], True, False, True, True),  # [DONE] and a proper end
        ([None], True, False, False, False),  # [DONE], but cut off
        ([], False, True, True, True),  # a JSON answer, whole
        ([], False, True, False, False),
    ],
)
def test_what_counts_as_complete(
    finished: list[str | None], done: bool, whole_body: bool, eof_clean: bool, complete: bool
) -> None:
    """U9, U10: only finish reasons, or `[DONE]` with a proper end, make an answer whole."""
    partial = Partial(done=done, ends_with_body=whole_body)
    for choice, reason in enumerate(finished):
        partial.see(choice)
        if reason:
            partial.finish(choice, reason)
    assert partial.complete(eof_clean=eof_clean) is complete


def test_a_terminal_event_completes_and_an_error_never_does() -> None:
    """A format's own last event is proof enough; an error within the stream outweighs every proof."""
    assert Partial(terminal=True).complete(eof_clean=False)
    partial = Partial(terminal=True, done=True, ends_with_body=True, error=StreamError("broken"))
    partial.finish(0, "stop")
    assert not partial.complete(eof_clean=True)


def test_the_last_finish_reason_and_the_larger_usage_stand() -> None:
    """U26: a second finish reason replaces the first, a smaller usage changes nothing."""
    partial = Partial()
    partial.finish(0, "stop")
    partial.finish(0, "length" * 100)
    partial.note_usage(Usage(3, 9), final=True)
    partial.note_usage(Usage(3, 4), final=False)
    assert partial.finish_reasons == {0: ("length" * 100)[:256]}
    assert partial.usage == Usage(3, 9)
    assert partial.usage_is_final
