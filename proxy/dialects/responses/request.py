"""Reading the request for a response. Source: OpenAI's API reference (Create a model response).

What has no meaning in front of any chat model is checked, shown and not sent up; what would be missed in the answer is
refused by its name.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from proxy.core.request_body import MAX_MODEL, MAX_USER
from proxy.dialects.responses import fields
from proxy.dialects.responses.inputs import Item, read_input
from proxy.dialects.responses.text_format import chat_format, read_text
from proxy.dialects.responses.tools import chat_tools, read_choice, read_tools

MOST_INSTRUCTIONS: Final = 10 * 2**20
MOST_PAIRS: Final = 16
MOST_KEY: Final = 64
MOST_VALUE: Final = 512
EFFORTS: Final = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
SUMMARIES: Final = ("auto", "concise", "detailed")

NOT_SERVED: Final = {
    "conversation": "there are no conversation objects; use previous_response_id",
    "prompt": "there are no stored prompts",
    "context_management": "nothing is compacted",
    "moderation": "nothing is moderated",
    "access_programs": "there are none",
}
UNUSED: Final = frozenset({"image", "prompt_cache_options", "prompt_cache_retention", "max_tool_calls", "include"})
"""What changes nothing where there are no caches of ours and no tools run here; `include` is looked at by itself."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One request. `shown`: its fields as every response object repeats them. `options`: the upstream's own fields."""

    model: str
    items: list[Item]
    instructions: str | None
    previous: str | None
    streams: bool
    background: bool
    store: bool
    user: str | None
    shown: dict[str, Any]
    options: dict[str, Any]


def read_request(found: dict[str, Any], default_model: str | None) -> Asked:
    """Read a request; `default_model` is the route's own.

    Raises:
        Refusal: 400, naming the first field that is missing, wrong, unknown, or can't be had here.
    """
    _check_served(found)
    items = read_input(found.get("input"))
    tools = read_tools(found.get("tools"))
    choice = read_choice(found.get("tool_choice"), tools)
    parallel = _maybe(found, "parallel_tool_calls", fields.flag)
    text, reasoning = read_text(found.get("text")), _reasoning(found.get("reasoning"))
    background, store = _flag(found, "background"), _flag(found, "store", default=True)
    if background and not store:
        raise fields.wrong("background", "store to be true with it")
    model = _model(found.get("model"), default_model)
    user = _maybe(found, "user", lambda value, name: fields.text(value, name, MAX_USER, empty=True))
    sampling = _sampling(found)
    shown = {
        "instructions": _maybe(found, "instructions", _long_text),
        "previous_response_id": _maybe(found, "previous_response_id", fields.text),
        "background": background,
        "store": store,
        "max_output_tokens": sampling["max_tokens"],
        "temperature": 1.0 if sampling["temperature"] is None else sampling["temperature"],
        "top_p": 1.0 if sampling["top_p"] is None else sampling["top_p"],
        "metadata": _metadata(found.get("metadata")),
        "parallel_tool_calls": True if parallel is None else parallel,
        "reasoning": reasoning,
        "safety_identifier": _maybe(found, "safety_identifier", fields.text),
        "prompt_cache_key": _maybe(found, "prompt_cache_key", fields.text),
        "service_tier": "default",
        "text": text,
        "tool_choice": choice,
        "tools": tools,
        "top_logprobs": 0,
        "truncation": "disabled",
        "user": user,
    }
    return Asked(
        model=model,
        items=items,
        instructions=shown["instructions"],
        previous=shown["previous_response_id"],
        streams=_flag(found, "stream"),
        background=background,
        store=store,
        user=user or None,
        shown=shown,
        options={
            **sampling,
            **chat_tools(tools, choice, parallel),
            "response_format": chat_format(text["format"]),
            "verbosity": text.get("verbosity"),
            "reasoning_effort": reasoning["effort"],
        },
    )


def _check_served(found: dict[str, Any]) -> None:
    """Refuse what can't be had here, and fields that the API does not have."""
    for name, value in found.items():
        if name in NOT_SERVED and value not in (None, []):
            raise fields.not_served(name, NOT_SERVED[name])
        if name not in _KNOWN:
            raise fields.unknown(name)
    _check_words(found)
    for number, each in enumerate(fields.items(found.get("include") or [], "include", MOST_KEY)):
        if fields.text(each, f"include[{number}]") == "message.output_text.logprobs":
            raise fields.not_served(f"include[{number}]", "no log probabilities are shown")
    if (options := found.get("stream_options")) is not None:
        obfuscates = fields.mapping(options, "stream_options").get("include_obfuscation")
        if obfuscates is not None:
            fields.flag(obfuscates, "stream_options.include_obfuscation")


def _check_words(found: dict[str, Any]) -> None:
    """Check fields of which only some values can be had."""
    if found.get("truncation") is not None:
        fields.word(found["truncation"], "truncation", "auto", "disabled")
        if found["truncation"] == "auto":
            raise fields.not_served("truncation", "what is too long is refused by the upstream; only disabled")
    if found.get("service_tier") is not None:
        fields.word(found["service_tier"], "service_tier", "auto", "default")
    if found.get("top_logprobs") not in (None, 0):
        raise fields.not_served("top_logprobs", "no log probabilities are shown")


def _model(found: Any, default: str | None) -> str:
    if found is None and default is not None:
        return default
    if found is None:
        raise fields.missing("model")
    model = fields.text(found, "model", MAX_MODEL)
    if not model.isprintable():
        raise fields.wrong("model", "a name without control characters")
    return model


def _sampling(found: dict[str, Any]) -> dict[str, Any]:
    return {
        "max_tokens": _maybe(found, "max_output_tokens", lambda value, name: fields.whole(value, name, 1)),
        "temperature": _maybe(found, "temperature", lambda value, name: fields.number(value, name, 0, 2)),
        "top_p": _maybe(found, "top_p", lambda value, name: fields.number(value, name, 0, 1)),
    }


def _reasoning(found: Any) -> dict[str, Any]:
    reasoning = {} if found is None else fields.mapping(found, "reasoning")
    effort, summary = reasoning.get("effort"), reasoning.get("summary")
    return {
        "effort": None if effort is None else fields.word(effort, "reasoning.effort", *EFFORTS),
        "summary": None if summary is None else fields.word(summary, "reasoning.summary", *SUMMARIES),
    }


def _metadata(found: Any) -> dict[str, str]:
    metadata = {} if found is None else fields.mapping(found, "metadata")
    if len(metadata) > MOST_PAIRS:
        raise fields.wrong("metadata", f"at most {MOST_PAIRS} pairs")
    for key, value in metadata.items():
        if len(key) > MOST_KEY:
            raise fields.wrong("metadata", f"keys of at most {MOST_KEY} characters")
        fields.text(value, "metadata", MOST_VALUE, empty=True)
    return metadata


def _long_text(value: Any, name: str) -> str | None:
    if isinstance(value, list):
        raise fields.wrong(name, "a string", "invalid_type")
    return fields.text(value, name, MOST_INSTRUCTIONS, empty=True) or None


def _maybe(found: dict[str, Any], name: str, read: Callable[[Any, str], Any]) -> Any:
    value = found.get(name)
    return None if value is None else read(value, name)


def _flag(found: dict[str, Any], name: str, *, default: bool = False) -> bool:
    value = found.get(name)
    return default if value is None else fields.flag(value, name)


_KNOWN: Final = frozenset(
    {
        *NOT_SERVED,
        *UNUSED,
        *("background", "input", "instructions", "max_output_tokens", "metadata", "model", "parallel_tool_calls"),
        *("previous_response_id", "prompt_cache_key", "reasoning", "safety_identifier", "service_tier", "store"),
        *("stream", "stream_options", "temperature", "text", "tool_choice", "tools", "top_logprobs", "top_p"),
        *("truncation", "user"),
    }
)
"""Every field of the API."""
