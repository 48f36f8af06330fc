import pytest

from proxy.core.partial import Partial
from proxy.core.sse import events
from proxy.wire.base import Wire
from proxy.wire.opaque import Opaque
from proxy.wire.openai_chat import OpenAIChat
from proxy.wire.openai_completions import OpenAICompletions
from proxy.wire.openai_responses import OpenAIResponses

WIRES: list[Wire] = [
    OpenAIChat(),
    OpenAICompletions(),
    OpenAIResponses(),
    Opaque(),
]  # mypy checks here that each is a Wire


@pytest.mark.parametrize("wire", WIRES, ids=lambda wire: wire.name)
def test_every_wire_ends_a_stream_with_whole_events(wire: Wire) -> None:
    """Closing and error frames of every format are whole events, the comment first, and cannot be forged by texts."""
    closing = wire.closing(Partial(), finish_reason="stop", usage=None, comment="a\n\ndata: x")
    assert closing.startswith(b": a  data: x\n\n")
    assert closing.endswith(b"\n\n")
    assert wire.error_frame(Partial(), "m\n\ndata: x", "t", "c").endswith(b"\n\n")
    frame = wire.error_frame(Partial(), "m\n\ndata: x", "t", "c")
    assert [event.data for event in events(frame) if event.data == b"x"] == []
