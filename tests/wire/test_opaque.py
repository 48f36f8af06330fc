import json
from typing import Any

import pytest

from proxy.core.partial import Partial
from proxy.core.usage import Usage
from proxy.wire.opaque import Opaque


def test_nothing_is_read_or_changed() -> None:
    """Bytes of an unknown kind are not parsed, edited or ended; they are whole when their HTTP body is."""
    wire, partial = Opaque(), Partial()
    wire.fold(b'data: {"choices":[{"delta":{"content":"x"}}]}\n\n', partial)
    assert partial.choices == {}
    assert partial.complete(eof_clean=True)
    assert not partial.complete(eof_clean=False)
    answered = Partial()
    wire.fold_answer(b"\x00\xff", answered)
    assert answered.complete(eof_clean=True)
    assert (partial.usage, answered.usage) == (None, None)
    block = b'data: {"choices":[],"usage":{}}\n\ndata: [DONE]\n\n'
    assert wire.without_extra_usage(block) == wire.ask_for_usage(block, continuous=True) == block
    assert (wire.is_done(block), wire.peek_id(block), wire.is_extra_usage(block[6:31])) == (False, None, False)


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"prompt_tokens": 8, "total_tokens": 8}, Usage(8, 0)),
        ({"prompt_tokens": 8, "total_tokens": 9}, Usage(8)),
        ({"prompt_tokens": 8, "completion_tokens": 2, "total_tokens": 10}, Usage(8, 2)),
        ({"input_tokens": 8, "output_tokens": 2, "total_tokens": 10}, None),
        ({"prompt_tokens": -8, "total_tokens": 8}, None),
        ({"prompt_tokens": "8"}, None),
        (["prompt_tokens"], None),
        (None, None),
    ],
)
def test_the_counts_of_embeddings_are_taken(usage: Any, expected: Usage | None) -> None:
    """Of an answer as embeddings have it the usage counts, however long it is; what counts otherwise is left alone."""
    for numbers in (1, 20_000):
        partial = Partial()
        answer = {"object": "list", "data": [{"embedding": [0.1] * numbers}], "usage": usage}
        Opaque().fold_answer(json.dumps(answer).encode(), partial)
        assert partial.usage == expected
        assert partial.usage_is_final == (expected is not None)


def test_a_text_that_looks_like_counts_is_none() -> None:
    """What stands in a text of the answer counts nothing."""
    partial = Partial()
    Opaque().fold_answer(json.dumps({"text": '{"usage": {"prompt_tokens": 8}}'}).encode(), partial)
    assert partial.usage is None
