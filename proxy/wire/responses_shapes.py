"""The objects of OpenAI's Responses API: a response, its output items, their parts, its usage.

Source: OpenAI's API reference. What is unknown is null, where the API lets it be.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from proxy.core.usage import Usage

STREAM_ERROR: Final = "error"
CANCELLED: Final = "response.cancelled"
"""Not in the API's union of events; every client tolerates it, and none takes it for a failure."""

_DEFAULTS: Final[Mapping[str, Any]] = {
    "background": False,
    "completed_at": None,
    "error": None,
    "incomplete_details": None,
    "instructions": None,
    "max_output_tokens": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "temperature": None,
    "tool_choice": "auto",
    "tools": [],
    "top_p": None,
}


def response_object(
    known: Mapping[str, Any],
    *,
    ident: str,
    model: str,
    created_at: float,
    status: str,
    output: Sequence[Mapping[str, Any]],
    usage: Usage | None = None,
    **more: Any,
) -> dict[str, Any]:
    """A response.

    Args:
        known: fields that are known better than the API's defaults.
        ident: its id.
        model: what answers.
        created_at: seconds since the epoch.
        status: one of the API's.
        output: its items.
        usage: what was used; None, or a count in it that is not known: null.
        more: fields that go before all others.
    """
    fields = {
        "id": ident,
        "object": "response",
        "created_at": int(created_at),
        "status": status,
        "model": model,
        "output": list(output),
        "usage": None if usage is None else usage_object(usage),
    }
    others = {name: value for name, value in {**_DEFAULTS, **known}.items() if name not in fields}
    return {**fields, **others, **more}


def usage_object(usage: Usage) -> dict[str, Any] | None:
    """Usage as the API writes it; None when one of the two counts is not known, for the API has no null there."""
    if usage.prompt_tokens is None or usage.completion_tokens is None:
        return None
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens or 0, "cache_write_tokens": 0},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens or 0},
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }


def item_id(response_id: str, prefix: str, index: int) -> str:
    """The id of an output item, made of its response's: the same whenever the response is shown again."""
    return f"{prefix}_{response_id.partition('_')[2] or response_id}{index:02x}"


def text_part(text: str) -> dict[str, Any]:
    """A part of a message: text."""
    return {"type": "output_text", "annotations": [], "logprobs": [], "text": text}


def refusal_part(text: str) -> dict[str, Any]:
    """A part of a message: the words with which the model refuses."""
    return {"type": "refusal", "refusal": text}


def reasoning_part(text: str) -> dict[str, Any]:
    """A part of a reasoning item."""
    return {"type": "reasoning_text", "text": text}


def summary_part(text: str) -> dict[str, Any]:
    """A part of the summary of a reasoning item."""
    return {"type": "summary_text", "text": text}


def message_item(ident: str, parts: Sequence[Mapping[str, Any]], status: str) -> dict[str, Any]:
    """An answer's message."""
    return {"id": ident, "type": "message", "status": status, "role": "assistant", "content": list(parts)}


def reasoning_item(ident: str, parts: Sequence[Mapping[str, Any]], status: str) -> dict[str, Any]:
    """The reasoning that a model shows."""
    return {"id": ident, "type": "reasoning", "summary": [], "content": list(parts), "status": status}


def call_item(ident: str, call_id: str, name: str, arguments: str, status: str) -> dict[str, Any]:
    """A call of a function; `arguments` is its JSON as far as it came."""
    return {
        "id": ident,
        "type": "function_call",
        "status": status,
        "call_id": call_id,
        "name": name,
        "arguments": arguments,
    }
