"""Every event of every kind of response has all that the types of the package for Node require."""

import random
from typing import Any

from dialects.test_responses_draft import a_draft, random_deltas, say
from proxy.core.partial import Partial
from proxy.wire.openai_responses import OpenAIResponses
from support.node_types import event_names, missing, required
from support.responses import told


def test_the_declarations_are_read() -> None:
    """The types that the test stands on are found in the package."""
    assert {"id", "error", "tools", "top_p", "metadata"} <= required()["Response"]
    assert event_names()["response.output_text.delta"] == "ResponseTextDeltaEvent"
    assert missing({"type": "response.output_text.delta"}) == {
        f"ResponseTextDeltaEvent.{key}"
        for key in ("content_index", "delta", "item_id", "logprobs", "output_index", "sequence_number")
    }


def test_every_event() -> None:
    """Nothing that is required is missing, in streams of any content and end."""
    chance = random.Random(5)
    failed: dict[str, Any] = {"error": {"code": "server_error", "message": "Oh."}}
    incomplete: dict[str, Any] = {"incomplete_details": {"reason": "max_output_tokens"}}
    ends: tuple[tuple[str, dict[str, Any]], ...]
    ends = (("completed", {"completed_at": 7}), ("cancelled", {}), ("failed", failed), ("incomplete", incomplete))
    seen: set[str] = set()
    for _ in range(60):
        status, end = chance.choice(ends)
        for event in told(say(a_draft(background=chance.random() < 0.5), random_deltas(chance), status, **end)):
            assert missing(event) == set()
            seen.add(event["type"])
    assert len(seen) == 19


def test_what_is_added_to_a_stream_that_passes() -> None:
    """The events with which a passed-through stream ends are whole too."""
    wire = OpenAIResponses()
    said = wire.closing(Partial(), finish_reason="stop", usage=None, comment="c", answer_id="a", model="m")
    for event in told(said):
        assert missing(event) == set()
