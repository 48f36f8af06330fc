"""The stream's frames: an event's name, and its object as data.

Source: OpenAI's API reference, Assistants v2, streaming.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

DONE: Final = b"event: done\ndata: [DONE]\n\n"
_HOLE: Final = "\0"


def event(name: str, found: Mapping[str, Any]) -> bytes:
    """One event."""
    return b"event: %s\ndata: %s\n\n" % (name.encode(), json.dumps(found, separators=(",", ":")).encode())


def run_event(run: Mapping[str, Any]) -> bytes:
    """A run has come to its status."""
    return event(f"thread.run.{run['status']}", run)


def step_event(step: Mapping[str, Any], name: str | None = None) -> bytes:
    """A step has come to its status, or to what `name` says."""
    return event(f"thread.run.step.{name or step['status']}", step)


def text_frames(message_id: str) -> tuple[bytes, bytes]:
    """A delta of a message's text, cut where the text goes in as JSON."""
    before, _, behind = _message_delta(message_id, {"index": 0, "type": "text", "text": {"value": _HOLE}}).partition(
        json.dumps(_HOLE).encode()
    )
    return before, behind


def first_text(message_id: str, text: str, index: int) -> bytes:
    """The first delta of a message's text; it brings the annotations along."""
    return _message_delta(message_id, {"index": index, "type": "text", "text": {"value": text, "annotations": []}})


def more_text(message_id: str, text: str, index: int) -> bytes:
    """A later delta of a text that is not the message's first part."""
    return _message_delta(message_id, {"index": index, "type": "text", "text": {"value": text}})


def refusal_delta(message_id: str, text: str, index: int) -> bytes:
    """A delta of the text with which the model refuses."""
    return _message_delta(message_id, {"index": index, "type": "refusal", "refusal": text})


def _message_delta(message_id: str, content: dict[str, Any]) -> bytes:
    delta = {"id": message_id, "object": "thread.message.delta", "delta": {"content": [content]}}
    return event("thread.message.delta", delta)


def call_delta(step_id: str, call: dict[str, Any]) -> bytes:
    """A delta of a tool call."""
    details = {"type": "tool_calls", "tool_calls": [call]}
    delta = {"id": step_id, "object": "thread.run.step.delta", "delta": {"step_details": details}}
    return event("thread.run.step.delta", delta)
