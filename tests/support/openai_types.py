"""Bodies and events against the types of the official `openai` package, strictly: the client itself checks nothing."""

import json
from typing import Any

from openai.types.responses import Response, ResponseItem, ResponseStreamEvent
from pydantic import TypeAdapter

RESPONSE: TypeAdapter[Any] = TypeAdapter(Response)
EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
ITEM: TypeAdapter[Any] = TypeAdapter(ResponseItem)

STATUS_KEYS = (
    *("id", "object", "created_at", "status", "error", "incomplete_details", "instructions", "metadata", "model"),
    *("output", "parallel_tool_calls", "temperature", "tool_choice", "tools", "top_p", "usage"),
)
"""What the API reference requires of a response, null or not; the package's types don't tell null from absent."""


def check_response(found: Any) -> None:
    """A response object: every required key, no unknown literal, no value of another type."""
    assert set(STATUS_KEYS) <= set(found), set(STATUS_KEYS) - set(found)
    _check(RESPONSE, found)


def check_event(found: Any) -> None:
    """An event of a stream, the one that the API does not have included."""
    if found["type"] == "response.cancelled":
        assert set(found) == {"type", "sequence_number", "response"}
        assert found["response"]["status"] == "cancelled"
    else:
        _check(EVENT, found)
    if "response" in found:
        check_response(found["response"])


def check_item(found: Any) -> None:
    """An entry of a list of input items."""
    _check(ITEM, found)


def _check(adapter: TypeAdapter[Any], found: Any) -> None:
    value = adapter.validate_json(json.dumps(found), strict=True)
    kind = found.get("type")
    assert kind is None or value.type == kind  # of a union the member that says so
