from proxy.core.partial import Partial
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
    block = b'data: {"choices":[],"usage":{}}\n\ndata: [DONE]\n\n'
    assert wire.without_extra_usage(block) == wire.ask_for_usage(block, continuous=True) == block
    assert (wire.is_done(block), wire.peek_id(block), wire.is_extra_usage(block[6:31])) == (False, None, False)
