"""Tests of proxy.core.read_on: what is counted behind a stop, and for how long."""

from proxy.core.partial import Partial
from proxy.core.read_on import ReadOn
from proxy.core.usage import Usage
from proxy.wire.openai_chat import OpenAIChat
from support.chat import chat_events, text

WIRE = OpenAIChat()
EVENTS = chat_events(12, usage=True)


def stopped(events: int) -> Partial:
    """The partial of a stream that was stopped behind so many events."""
    partial = Partial()
    WIRE.fold(b"".join(EVENTS[:events]), partial)
    return partial


def test_what_comes_is_counted_and_not_kept() -> None:
    """Text behind the stop adds characters, the usage is taken, and no text is anywhere."""
    at_the_stop = stopped(9)
    read_on = ReadOn(at_the_stop, 100.0, 1000)
    WIRE.fold(b"".join(EVENTS[9:]), read_on.partial)
    beyond = read_on.beyond()
    assert (beyond.before, beyond.behind) == (len(text(8)), len(text(12)) - len(text(8)))
    assert beyond.usage == Usage(7, 12)
    assert (read_on.partial.display_text(), at_the_stop.text()) == ("", text(8))


def test_nothing_but_the_usage_came() -> None:
    """Behind the last word nothing is made any more."""
    read_on = ReadOn(stopped(13), 100.0, 1000)
    WIRE.fold(b"".join(EVENTS[13:]), read_on.partial)
    beyond = read_on.beyond()
    assert (beyond.behind, beyond.usage) == (0, Usage(7, 12))


def test_a_running_total_is_no_count_of_the_whole() -> None:
    """Only a final usage says what the whole answer had; until then the last total says what there is, up to it."""
    partial = Partial()
    partial.add_content(0, "some")
    partial.note_usage(Usage(7, 3), final=False)
    read_on = ReadOn(partial, 100.0, 1000)
    assert (read_on.beyond().usage, read_on.beyond().running) == (None, Usage(7, 3))
    read_on.partial.add_content(0, " more")
    assert (read_on.beyond().usage, read_on.beyond().running) == (None, None)
    read_on.partial.note_usage(Usage(7, 5), final=True)
    assert (read_on.beyond().usage, read_on.beyond().running) == (Usage(7, 5), None)


def test_a_final_count_that_came_too_early() -> None:
    """Counts that the upstream called final before the stop are none of the whole when it speaks on."""
    partial = Partial()
    partial.add_content(0, "some")
    partial.note_usage(Usage(7, 1), final=True)
    read_on = ReadOn(partial, 100.0, 1000)
    assert read_on.beyond().usage == Usage(7, 1)
    read_on.partial.add_content(0, " more")
    assert read_on.beyond().usage is None


def test_its_bounds() -> None:
    """It is over at its time, or when about so many tokens have come."""
    read_on = ReadOn(stopped(9), 100.0, 10)
    assert (read_on.is_over(99.9), read_on.is_over(100.0)) == (False, True)
    read_on.partial.add_content(0, "x" * 39)
    assert not read_on.is_over(0.0)
    read_on.partial.add_content(0, "x")
    assert read_on.is_over(0.0)


def test_reasoning_that_was_shown() -> None:
    """Whether the model thought in sight of its reader matters to what was made by then."""
    partial = Partial()
    partial.add_reasoning(0, "hm")
    assert ReadOn(partial, 1.0, 1).beyond().shows_reasoning
    assert not ReadOn(Partial(), 1.0, 1).beyond().shows_reasoning
