"""Reading a request for a run: what is asked, and the run that it becomes together with its assistant."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from proxy.core.settings.settings import RouteSettings
from proxy.dialects.assistants import tools
from proxy.dialects.assistants.fields import MAX_INSTRUCTIONS, Fields
from proxy.dialects.assistants.ids import RUN, fresh
from proxy.dialects.assistants.tools import NO_FILES

LEAST_TOKENS: Final = 256
EXPIRES: Final = 600
"""Seconds that a run may take, the waiting for results of tools included."""
STRATEGIES: Final = ("auto", "last_messages")


@dataclass(frozen=True, slots=True)
class Asked:
    """One request for a run. `found` has the run's fields; None for those that the assistant decides."""

    assistant_id: str
    streams: bool
    found: Mapping[str, Any]
    additional_instructions: str | None


def read_run(fields: Fields) -> Asked:
    """Read what all requests for a run have."""
    fields.refuse_any("tool_resources", NO_FILES)
    found = {
        "model": tools.read_model(fields),
        "instructions": fields.string("instructions", MAX_INSTRUCTIONS),
        "tools": tools.read_tools(fields),
        "metadata": fields.metadata() or {},
        **tools.read_sampling(fields),
        "max_prompt_tokens": fields.whole("max_prompt_tokens", LEAST_TOKENS),
        "max_completion_tokens": fields.whole("max_completion_tokens", LEAST_TOKENS),
        "truncation_strategy": _read_truncation(fields),
        "response_format": tools.read_format(fields),
        "tool_choice": tools.read_choice(fields),
        "parallel_tool_calls": fields.flag("parallel_tool_calls"),
        "reasoning_effort": fields.one_of("reasoning_effort", tools.EFFORTS),
    }
    return Asked(
        assistant_id=fields.needed("assistant_id"),
        streams=bool(fields.flag("stream")),
        found=found,
        additional_instructions=fields.string("additional_instructions", MAX_INSTRUCTIONS),
    )


def _read_truncation(fields: Fields) -> dict[str, Any]:
    own = fields.object("truncation_strategy")
    if own is None:
        return {"type": "auto", "last_messages": None}
    kind = own.one_of("type", STRATEGIES)
    if kind is None:
        raise own.wrong("type", f"one of: {', '.join(STRATEGIES)}")
    last = own.whole("last_messages", 1)
    if kind == "last_messages" and last is None:
        raise own.wrong("last_messages", "how many messages, with this type")
    return {"type": kind, "last_messages": last if kind == "last_messages" else None}


def new_run(
    asked: Asked, assistant: Mapping[str, Any], thread_id: str, route: RouteSettings, now: float
) -> dict[str, Any]:
    """A run as the API shows it, queued: what it does not say, its assistant does."""
    own = {name: value for name, value in asked.found.items() if value is not None}
    said = [own.get("instructions", assistant["instructions"]), asked.additional_instructions]
    return {
        "id": fresh(RUN),
        "object": "thread.run",
        "created_at": int(now),
        "thread_id": thread_id,
        "assistant_id": assistant["id"],
        "status": "queued",
        "required_action": None,
        "last_error": None,
        "expires_at": int(now) + EXPIRES,
        "started_at": None,
        "cancelled_at": None,
        "failed_at": None,
        "completed_at": None,
        "incomplete_details": None,
        "model": own.get("model") or assistant["model"] or route.model,
        "instructions": "\n\n".join(part for part in said if part),
        "tools": own.get("tools", assistant["tools"]),
        "metadata": own["metadata"],
        "usage": None,
        **tools.shown_sampling(said_of(asked, assistant)),
        "max_prompt_tokens": own.get("max_prompt_tokens"),
        "max_completion_tokens": own.get("max_completion_tokens"),
        "truncation_strategy": own["truncation_strategy"],
        "response_format": own.get("response_format", assistant["response_format"]),
        "tool_choice": own.get("tool_choice", "auto"),
        "parallel_tool_calls": own.get("parallel_tool_calls", True),
    }


def said_of(asked: Asked, assistant: Mapping[str, Any]) -> dict[str, Any]:
    """What was said of how the model is to answer, by the run or by its assistant; None where nothing was."""
    names = ("temperature", "top_p", "reasoning_effort")
    return {name: assistant[name] if asked.found[name] is None else asked.found[name] for name in names}


def upstream_options(run: Mapping[str, Any], said: Mapping[str, Any], completion_left: int | None) -> dict[str, Any]:
    """More fields of the upstream's request; what nobody has said is left out. `said`: see `said_of`."""
    options: dict[str, Any] = {
        **said,
        "max_tokens": completion_left,
        "response_format": None if run["response_format"] == "auto" else run["response_format"],
    }
    if run["tools"]:
        options["tools"] = run["tools"]
        options["tool_choice"] = None if run["tool_choice"] == "auto" else run["tool_choice"]
        options["parallel_tool_calls"] = None if run["parallel_tool_calls"] else False
    return options
