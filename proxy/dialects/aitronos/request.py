"""Reading `POST /model/response`: what is asked, with every limit that the API documents."""

import re
from dataclasses import dataclass, field
from typing import Any, Final

from proxy.dialects.aitronos.fields import Fields
from proxy.dialects.aitronos.inputs import Input, read_inputs

MAX_INSTRUCTIONS: Final = 5000
MAX_MODEL: Final = 256
MAX_SYNAPSES: Final = 10_000_000
MAX_TOOLS: Final = 128
MAX_LISTED: Final = 1000
MODES: Final = ("text", "plain", "structured", "blocks")
EFFORTS: Final = ("off", "low", "medium", "high", "maximum")
SUMMARIES: Final = ("off", "auto", "concise", "detailed")
CUTS: Final = ("previous_response_id", "edit_message_id", "previous_message_id")

_FUNCTION: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]{0,63}")
_MODEL: Final = re.compile(r"[^\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")


@dataclass(frozen=True, slots=True)
class Cut:
    """From where on a thread's messages no longer count: from that message on, or behind it."""

    message_id: str
    behind: bool
    field: str
    """The request's field that says so."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One request for a response."""

    inputs: list[Input]
    model: str
    streams: bool
    mode: str
    thread_id: str | None = None
    instructions: str | None = None
    cut: Cut | None = None
    assistant_id: str | None = None
    organization_id: str | None = None
    visible: bool = True
    metadata: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    """More fields of the upstream's request, under its names."""

    @property
    def results(self) -> list[Input]:
        """The results of tools among the inputs."""
        return [each for each in self.inputs if each.role == "tool"]

    @property
    def is_structured(self) -> bool:
        """Whether the answer goes out as blocks."""
        return self.mode in ("structured", "blocks")


def read_request(fields: Fields, default_model: str | None) -> Asked:
    """Read a request.

    Raises:
        Refusal: 422, with every field that is missing or wrong.
    """
    inputs = read_inputs(fields)
    thread_id = fields.string("thread_id")
    asked = Asked(
        inputs=inputs,
        model=_model(fields, default_model),
        streams=fields.flag("stream", False),
        mode=_mode(fields),
        thread_id=thread_id,
        instructions=fields.string("instructions", MAX_INSTRUCTIONS),
        cut=_cut(fields, thread_id),
        assistant_id=fields.string("assistant_id"),
        organization_id=fields.string("organization_id"),
        visible=fields.flag("store", True),
        metadata=fields.object("metadata") or {},
        options=_options(fields),
    )
    _check_unserved(fields)
    fields.check()
    return asked


def _model(fields: Fields, default: str | None) -> str:
    model = fields.string("model", MAX_MODEL) or default
    if model is not None and _MODEL.fullmatch(model):
        return model
    if model is not None:
        fields.wrong("model", "expected a name without control characters")
    elif "model" not in fields.errors:
        fields.wrong("model", "expected the name of a model: the route has no default, its model in the config")
    return ""


def _mode(fields: Fields) -> str:
    mode = fields.found.get("output_mode")
    if mode in ("json", "json_schema"):
        fields.wrong("output_mode", f"{mode} is not yet implemented; expected one of: {', '.join(MODES)}")
        return "text"
    return fields.one_of("output_mode", MODES) or "text"


def _cut(fields: Fields, thread_id: str | None) -> Cut | None:
    given = [(name, value) for name in CUTS if (value := fields.string(name)) is not None]
    if len(given) > 1:
        fields.wrong(given[1][0], f"expected only one of: {', '.join(CUTS)}")
    if not given:
        return None
    name, value = given[0]
    if name == "previous_response_id":
        return Cut(message_of(value), behind=True, field=name)
    if thread_id is None:
        fields.wrong("thread_id", f"expected the thread of {name}")
    return Cut(value, behind=name == "previous_message_id", field=name)


def message_of(response_id: str) -> str:
    """The id of the message that a response became."""
    return f"msg_{response_id.removeprefix('resp_')}"


def _options(fields: Fields) -> dict[str, Any]:
    return {
        "temperature": fields.fraction("temperature"),
        "top_p": fields.fraction("top_p"),
        "max_tokens": fields.whole("max_output_synapses", MAX_SYNAPSES),
        "tools": _tools(fields) or None,
        "reasoning_effort": _effort(fields),
    }


def _effort(fields: Fields) -> str | None:
    """The upstream's word for a level of reasoning; nothing is asked of it where the client asked for nothing."""
    reasoning = fields.object("reasoning")
    if reasoning is None:
        return None
    own = fields.below("reasoning", reasoning)
    own.one_of("summary", SUMMARIES)
    effort = own.one_of("effort", EFFORTS)
    return {"off": None, "maximum": "high"}.get(effort, effort) if effort else None


def _tools(fields: Fields) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for number, tool in enumerate(fields.array("tools", MAX_TOOLS)):
        name = f"tools.{number}"
        if not isinstance(tool, dict) or tool.get("type") != "function":
            fields.wrong(name, "expected a tool of the type function; no others can be had here")
            continue
        nested = tool.get("function")
        own = fields.below(name, nested if isinstance(nested, dict) else tool)
        function = {
            "name": own.found.get("name"),
            "description": own.string("description", MAX_INSTRUCTIONS),
            "parameters": own.object("parameters"),
            "strict": own.flag("strict", False) or None,
        }
        if not isinstance(function["name"], str) or not _FUNCTION.fullmatch(function["name"]):
            own.wrong("name", "expected 1 to 64 letters, digits or _, not beginning with a digit")
        found.append({"type": "function", "function": {key: v for key, v in function.items() if v is not None}})
    return found


def _check_unserved(fields: Fields) -> None:
    """What has no meaning in front of any model is checked and left; what would be missed in the answer is refused."""
    if fields.strings("vector_store_ids", MAX_LISTED):
        fields.wrong("vector_store_ids", "expected none: vector stores can't be had here")
    for name in ("workflow_id", "space_id"):
        fields.string(name)
    fields.strings("include", MAX_LISTED)
    fields.flag("disable_rules", False)
    system_tools = fields.object("system_tools") or {}
    if any(isinstance(settings, dict) and settings.get("mode") == "on" for settings in system_tools.values()):
        fields.wrong("system_tools", "expected no mode on: the API's own tools can't be had here")
