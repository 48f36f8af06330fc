"""Reading the request that starts a message: what is asked, checked field by field, in the upstream's words.

Sources: PrivateGPT's API reference (the fields), Anthropic's Messages API (their shapes). Fields that nobody here knows
are let through unread, as the API does.
"""

from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl

from proxy.core.headers import valid_task_id
from proxy.core.request_body import MAX_MODEL, MAX_USER
from proxy.dialects.async_messages import fields
from proxy.dialects.async_messages.content import read_messages, read_system
from proxy.dialects.async_messages.errors import invalid, invalid_id
from proxy.dialects.async_messages.tools import read_choice, read_tools

DEFAULT_MODEL: Final = "default"
"""The model that applications of this API name when they mean the server's own."""
NOT_SERVED: Final = ("mcp_servers", "tool_context")
"""What the API's own server would do itself; left out unseen, it would change the answer."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One message to be made: `fields` are the rest of the upstream's request."""

    model: str
    messages: list[dict[str, Any]]
    fields: dict[str, Any]
    user: str | None
    count: int
    """How many messages the conversation has."""
    thinking: bool


def read_id(query: str) -> str | None:
    """The id that the client has chosen; None: it leaves that to us.

    Raises:
        Refusal: 422.
    """
    chosen = [value for name, value in parse_qsl(query, keep_blank_values=True) if name == "message_id"]
    if not chosen:
        return None
    if len(chosen) > 1 or not valid_task_id(chosen[0]):
        raise invalid_id()
    return chosen[0]


def read_request(found: dict[str, Any], default: str | None) -> Asked:
    """Read a request; `default` is the route's own model.

    Raises:
        Refusal: 422, with the first field that is missing or wrong.
    """
    model = _model(found.get("model"), default)
    messages = read_messages(found.get("messages"))
    tools = read_tools(found.get("tools"))
    for name in NOT_SERVED:
        if found.get(name):
            raise invalid((name,), "is not served here; leave it out")
    _check_unused(found)
    return Asked(
        model=model,
        messages=[*read_system(found.get("system")), *messages],
        fields={
            **_sampling(found),
            "tools": tools,
            **read_choice(found.get("tool_choice"), tools),
            "response_format": _format(found),
        },
        user=_user(found.get("metadata")),
        count=len(found["messages"]),
        thinking=_thinking(found.get("thinking")),
    )


def _model(found: Any, default: str | None) -> str:
    if found is None and default is None:
        raise invalid(("model",), "must be a string; the route names no model of its own")
    if default is not None and found in (None, DEFAULT_MODEL):
        return default
    model = fields.text(found, ("model",))
    if len(model) > MAX_MODEL or not model.isprintable():
        raise invalid(("model",), f"must be at most {MAX_MODEL} printable characters")
    return model


def _sampling(found: dict[str, Any]) -> dict[str, Any]:
    """How long and how freely the model may answer."""
    asked: dict[str, Any] = {}
    if (most := found.get("max_tokens")) is not None:
        asked["max_tokens"] = fields.whole(most, ("max_tokens",), 1)
    for name in ("temperature", "top_p"):
        if (value := found.get(name)) is not None:
            asked[name] = fields.number(value, (name,), 0, 1)
    if (seed := found.get("seed")) is not None:
        asked["seed"] = fields.whole(seed, ("seed",))
    if stops := found.get("stop_sequences"):
        where = ("stop_sequences",)
        asked["stop"] = [fields.text(stop, (*where, n)) for n, stop in enumerate(fields.items(stops, where))]
    return asked


def _check_unused(found: dict[str, Any]) -> None:
    """Check what chat completions have no word for, or what means nothing here; it is not sent."""
    if (value := found.get("top_k")) is not None:
        fields.whole(value, ("top_k",), 0)
    if (value := found.get("min_p")) is not None:
        fields.number(value, ("min_p",), 0, 1)
    if (value := found.get("stream")) is not None:
        fields.flag(value, ("stream",))
    if (value := found.get("service_tier")) is not None:
        fields.word(value, ("service_tier",), "auto", "standard_only")


def _thinking(found: Any) -> bool:
    if found is None:
        return False
    where = ("thinking",)
    kind = fields.mapping(found, where).get("type")
    return fields.word(kind, (*where, "type"), "enabled", "adaptive", "disabled") != "disabled"


def _user(found: Any) -> str | None:
    """The end user, as Anthropic's `metadata` names it."""
    if found is None:
        return None
    user, where = fields.mapping(found, ("metadata",)).get("user_id"), ("metadata", "user_id")
    if user is None:
        return None
    if len(fields.text(user, where, empty=True)) > MAX_USER or not user.isprintable():
        raise invalid(where, f"must be at most {MAX_USER} printable characters")
    return user or None


def _format(found: dict[str, Any]) -> dict[str, Any] | None:
    """The form of the answer: a JSON schema in Anthropic's way, or the older field, which is OpenAI's own."""
    if (older := found.get("response_format")) is not None:
        return fields.mapping(older, ("response_format",))
    if (config := found.get("output_config")) is None:
        return None
    where = ("output_config", "format")
    wanted = fields.mapping(config, where[:1]).get("format")
    if wanted is None:
        return None
    fields.word(fields.mapping(wanted, where).get("type"), (*where, "type"), "json_schema")
    schema = fields.mapping(wanted.get("schema"), (*where, "schema"))
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
