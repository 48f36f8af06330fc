"""A turn: what a user says once, as the request has it, as it is stored, and as the model reads it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from proxy.core.conversation import Message, MessageStatus
from proxy.core.partial import safe_text
from proxy.core.settings.settings import RouteSettings
from proxy.core.templates import fill, variables
from proxy.dialects.dify.errors import invalid_param

QUERY: Final = "query"
PAST_CHARACTERS: Final = 1 << 20
"""So much of a conversation goes upstream at the most, the newest of it. A model may read less, and says so itself."""
_READABLE: Final = frozenset({MessageStatus.COMPLETED, MessageStatus.CANCELLED, MessageStatus.INTERRUPTED})
"""Answers that a model is shown again: not those that failed, or are still being made."""

Scalar: TypeAlias = str | int | float | bool


@dataclass(frozen=True, slots=True)
class Turn:
    """`inputs` has the route's variables only; `images` are addresses."""

    query: str = ""
    inputs: Mapping[str, Scalar] = field(default_factory=dict)
    images: tuple[str, ...] = ()

    def content(self) -> dict[str, Any]:
        """What is stored of it, beside the answer."""
        return {"query": self.query, "inputs": dict(self.inputs), "files": list(self.images)}

    def values(self) -> dict[str, str]:
        """The variables as text; the query is one of them."""
        texts = {name: _text(value) for name, value in self.inputs.items()}
        return {**texts, QUERY: self.query or texts.get(QUERY, "")}


def turn_of(message: Message) -> Turn:
    """The turn that a stored message answers."""
    content = message.content if isinstance(message.content, dict) else {}
    return Turn(content.get("query", ""), content.get("inputs", {}), tuple(content.get("files", ())))


def declared(route: RouteSettings) -> dict[str, bool]:
    """The variables of a route, and whether each is required; those of its templates where it declares none."""
    if route.inputs is not None:
        return {name: variable.required for name, variable in route.inputs.items()}
    return dict.fromkeys([*variables(route.system or ""), *variables(route.prompt or "")], False)


def read_inputs(found: Any, route: RouteSettings) -> dict[str, Scalar]:
    """The values of the route's variables; what else is there is ignored, and null or "" is no value.

    Raises:
        Refusal: 400 `invalid_param`, it is no object, or one of the values can't stand in a text.
    """
    if not isinstance(found, dict):
        raise invalid_param("inputs must be an object; {} if there are no variables.", "inputs")
    picked: dict[str, Scalar] = {}
    for name in dict.fromkeys([*declared(route), QUERY]):
        value = found.get(name)
        if value is None or value == "":
            continue
        if not isinstance(value, Scalar):
            raise invalid_param(f"{name} in inputs must be a string, a number or a boolean.", name)
        picked[name] = safe_text(value) if isinstance(value, str) else value
    return picked


def check_required(turn: Turn, route: RouteSettings) -> None:
    """Make sure that no required variable is missing.

    Raises:
        Refusal: 400 `invalid_param`, with the name of the first one that is.
    """
    values = turn.values()
    for name, required in declared(route).items():
        if required and not values.get(name):
            raise invalid_param(f"{name} is required in input form.", name)


def chat_messages(turn: Turn, route: RouteSettings, past: Sequence[Message] = ()) -> list[dict[str, Any]]:
    """The messages that go upstream: the system's, then the past ones (newest first in `past`), then this turn."""
    system = [] if route.system is None else [{"role": "system", "content": fill(route.system, turn.values())}]
    turns: list[dict[str, Any]] = [_said(turn, route)]
    room = PAST_CHARACTERS
    for message in past:
        if not message.text or message.status not in _READABLE:
            continue
        before = turn_of(message)
        room -= len(message.text) + len(before.query)
        if room < 0:
            break
        turns += [{"role": "assistant", "content": message.text}, _said(before, route)]
    return [*system, *reversed(turns)]


def _said(turn: Turn, route: RouteSettings) -> dict[str, Any]:
    values = turn.values()
    text = values[QUERY] if route.prompt is None else fill(route.prompt, values)
    if not turn.images:
        return {"role": "user", "content": text}
    images = [{"type": "image_url", "image_url": {"url": url}} for url in turn.images]
    return {"role": "user", "content": [{"type": "text", "text": text}, *images]}


def _text(value: Scalar) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
