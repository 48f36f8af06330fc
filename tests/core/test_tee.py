"""Tests of proxy.core.tee: what is kept, folded in batches, and what is noted where something could not be."""

import gzip
import json

import pytest

from proxy.core.partial import Partial
from proxy.core.sse import MAX_EVENT
from proxy.core.tee import FOLD_BYTES, Decoder, Fold, Tee
from proxy.core.usage import Usage
from proxy.wire.anthropic import AnthropicMessages
from proxy.wire.content_coding import Decoder as Inflating
from proxy.wire.gemini import Gemini
from proxy.wire.opaque import Opaque
from proxy.wire.openai_chat import OpenAIChat
from proxy.wire.openai_responses import OpenAIResponses
from support.chat import chat_events, chat_object, text

STREAM = b"".join(chat_events(3))
ANSWER = json.dumps(chat_object(3)).encode()


def a_tee(*, streamed: bool, bound: int = 1 << 20, decoder: Decoder | None = None) -> tuple[Tee, Partial]:
    """A tee for chat completions, and what it folds into."""
    partial = Partial()
    return Tee(OpenAIChat(), partial, streamed=streamed, bound=bound, decoder=decoder), partial


def test_it_goes_on_in_another_partial() -> None:
    """What was kept belongs to the partial before, what comes to the new one; an answer in one piece to that too."""
    later = Partial()
    tee, partial = a_tee(streamed=True)
    events = chat_events(3)
    tee.keep(b"".join(events[:3]))
    tee.go_on(later)
    tee.keep(b"".join(events[3:]))
    tee.fold(final=True)
    assert partial.text() + "|" + later.text() == text(2) + "|" + text(3).removeprefix(text(2))
    later = Partial()
    tee, partial = a_tee(streamed=False)
    tee.keep(ANSWER[:50])
    tee.go_on(later)
    tee.keep(ANSWER[50:])
    tee.fold(final=True)
    assert (partial.text(), later.text()) == ("", text(3))


def test_a_fold_is_due_by_size() -> None:
    """Chunks are only kept until there is enough for a fold."""
    tee, partial = a_tee(streamed=True)
    assert not tee.keep(STREAM)
    assert partial.text() == ""
    assert tee.keep(b": comment\n\n" * FOLD_BYTES)
    tee.fold()
    assert partial.text() == text(3)


def test_an_answer_is_folded_once_and_as_a_whole() -> None:
    """A plain answer is not touched before its end, and its text is not doubled by a second end."""
    tee, partial = a_tee(streamed=False)
    tee.keep(ANSWER)
    tee.fold()
    assert partial.text() == ""
    tee.fold(final=True)
    tee.fold(final=True)
    assert (partial.text(), partial.ends_with_body) == (text(3), True)


def test_a_large_answer_is_let_go() -> None:
    """An answer over the bound is not kept, not even what comes after, and is marked."""
    tee, partial = a_tee(streamed=False, bound=100)
    for piece in (ANSWER[:90], ANSWER[90:], b"}"):
        assert not tee.keep(piece)
    tee.fold(final=True)
    assert (partial.text(), partial.oversize, partial.bad_events) == ("", True, 0)


@pytest.mark.parametrize("pieces", [1, 7, 1000])
@pytest.mark.parametrize(
    ("wire", "member", "usage"),
    [
        (OpenAIChat(), "usage", {"prompt_tokens": 7, "completion_tokens": 9}),
        (OpenAIResponses(), "usage", {"input_tokens": 7, "output_tokens": 9}),
        (AnthropicMessages(), "usage", {"input_tokens": 7, "output_tokens": 9}),
        (Gemini(), "usageMetadata", {"promptTokenCount": 7, "candidatesTokenCount": 9}),
    ],
)
def test_the_usage_of_a_large_answer_is_read(wire: Fold, member: str, usage: dict[str, int], pieces: int) -> None:
    """What it cost stands at its end; a text that looks like a usage is none, its quotes being escaped."""
    said = json.dumps({member: {"prompt_tokens": 0, "completion_tokens": 0}})
    body = json.dumps({"object": "response", "said": said + "x" * 90_000 + said, member: usage, "model": said}).encode()
    partial = Partial()
    tee = Tee(wire, partial, streamed=False, bound=50_000)
    for at in range(0, len(body), size := len(body) // pieces):
        tee.keep(body[at : at + size])
    tee.fold(final=True)
    assert (partial.usage, partial.oversize, partial.bad_events) == (Usage(7, 9), True, 0)


def test_the_usage_of_a_large_answer_may_be_damaged() -> None:
    """One that is cut off, or nested beyond reason, is none."""
    for end in (b'"usage": {"completion_tokens": 9', b'"usage": {"a":' + b"[" * 9000, b'"usage": {}'):
        tee, partial = a_tee(streamed=False, bound=100)
        tee.keep(b'{"x": "' + b"y" * 100 + b'", ' + end)
        tee.fold(final=True)
        assert partial.usage in (None, Usage())


@pytest.mark.parametrize("streamed", [True, False])
def test_a_coded_copy_is_decoded(*, streamed: bool) -> None:
    """A coded body is folded from its plain copy, however it is cut."""
    tee, partial = a_tee(streamed=streamed, decoder=Inflating("gzip"))
    for byte in gzip.compress(STREAM if streamed else ANSWER):
        tee.keep(bytes([byte]))
        tee.fold()
    tee.fold(final=True)
    assert (partial.text(), partial.bad_events, partial.oversize) == (text(3), 0, False)
    assert partial.complete(eof_clean=True)


@pytest.mark.parametrize("streamed", [True, False])
def test_a_coding_that_was_cut_off_is_noted(*, streamed: bool) -> None:
    """What ended within its coding counts as a bad event, and as not whole."""
    tee, partial = a_tee(streamed=streamed, decoder=Inflating("gzip"))
    tee.keep(gzip.compress(STREAM if streamed else ANSWER)[:-40])
    tee.fold(final=True)
    assert partial.bad_events
    assert not partial.complete(eof_clean=True)


def test_bytes_nobody_reads_are_not_whole_in_a_damaged_coding() -> None:
    """An opaque stream ends with its body, but not when its coding did not end."""
    partial = Partial()
    tee = Tee(Opaque(), partial, streamed=True, bound=100, decoder=Inflating("gzip"))
    tee.keep(gzip.compress(STREAM)[:-5])
    tee.fold(final=True)
    assert not partial.complete(eof_clean=True)


@pytest.mark.parametrize("streamed", [True, False])
def test_a_bomb_is_too_large_to_be_kept(*, streamed: bool) -> None:
    """A body that unpacks out of all proportion is marked as oversize."""
    tee, partial = a_tee(streamed=streamed, decoder=Inflating("gzip"))
    tee.keep(gzip.compress(b'{"x": "' + b" " * (40 << 20)))
    tee.fold(final=True)
    assert partial.oversize


def test_a_coded_event_that_is_too_large_is_noted() -> None:
    """An event of a coded stream over the bound of events is not folded; those around it are."""
    tee, partial = a_tee(streamed=True, decoder=Inflating("gzip"))
    huge = b"data: " + bytes(range(33, 127)) * (MAX_EVENT // 90) + b"\n\n"
    for at in range(0, len(body := gzip.compress(STREAM[:-14] + huge + STREAM[-14:], 0)), 50_000):
        tee.keep(body[at : at + 50_000])
        tee.fold()
    tee.fold(final=True)
    assert (partial.text(), partial.oversize, partial.done) == (text(3), True, True)
