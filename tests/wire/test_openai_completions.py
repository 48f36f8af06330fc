import json

import pytest

from proxy.core.partial import Partial
from proxy.core.sse import events
from proxy.core.usage import Usage
from proxy.wire.openai_completions import OpenAICompletions
from support.recordings import COMPLETION_STREAMS, recorded

WIRE = OpenAICompletions()


@pytest.mark.parametrize("name", COMPLETION_STREAMS)
def test_recordings_are_folded(name: str) -> None:
    """The text, finish reason and usage of a completions stream are read; usage stands beside the last choice."""
    partial = Partial()
    WIRE.fold(recorded(name), partial)
    found = [json.loads(each.data) for each in events(recorded(name))[:-1]]
    assert partial.text() == "".join(each["choices"][0]["text"] for each in found)
    assert (partial.finish_reasons, partial.done, partial.bad_events) == ({0: "length"}, True, 0)
    assert partial.usage == (Usage(7, 40, 2) if name.startswith("llama-") else None)
    assert partial.upstream_id == found[0]["id"]


def test_an_answer_is_folded() -> None:
    """A whole answer, and one with several choices, gives its texts."""
    partial = Partial()
    body = {"id": "c", "choices": [{"index": 1, "text": "b", "finish_reason": "stop"}, {"text": "a"}]}
    WIRE.fold_answer(json.dumps(body).encode(), partial)
    assert partial.display_text() == "a\n\nb"
    assert partial.finish_reasons == {1: "stop"}


def test_a_stopped_stream_ends_in_its_own_shape() -> None:
    """The closing chunk is one of text completions, with an empty text."""
    partial = Partial()
    WIRE.fold(b'data: {"id":"cmpl-1","created":3,"model":"m","choices":[{"index":0,"text":"a"}]}\n\n', partial)
    end, done = events(WIRE.closing(partial, finish_reason="stop", usage=None, comment="x"))
    assert json.loads(end.data) == {
        "id": "cmpl-1",
        "object": "text_completion",
        "created": 3,
        "model": "m",
        "choices": [{"index": 0, "text": "", "logprobs": None, "finish_reason": "stop"}],
    }
    assert done.data == b"[DONE]"
