"""What the contract suite asks of a dialect's driver, and the reading of event streams."""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from support.chat import chat_events, sse
from support.client import RawClient
from support.proxy import RunningProxy
from support.stops import Ask

Schema = dict[str, Any]

FAILURE = sse({"error": {"message": "gone wrong", "type": "server_error", "code": "500"}})


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a client's stream: what the dialect calls it, and its data."""

    name: str
    data: Any


Start = Callable[[RunningProxy, RawClient, Ask, str], Awaitable[None]]
"""Starts a streaming generation of that id whose events arrive on the client's connection; reads nothing of them."""


@dataclass(frozen=True, slots=True)
class Driver:
    """A client of one dialect, at the route `/v1`.

    `route`: what its route needs beside dialect and upstream. `posts`: paths behind the route's that take a JSON
    object. `grammar`: what a whole stream looks like, as a pattern over the names of its events, each with a blank
    behind it; `ended`: how it ends then, by outcome. `schemas`: the data of each event, `error`: the body of an error,
    as JSON Schema. `stop`: path and body of the dialect's own stop, from the task id and what has come of the stream.
    `text`: the answer's text as a client puts it together. `passes`: the upstream's own words pass as they are.
    `records`: the dialect that its records have, where that is another name.
    `over_budget`: which of the endings a stream has that its budget stops.
    `refuses_again`: what its own stop is answered with the second time, where that is a refusal; else the first answer.
    `upstream`: what its upstream needs; `says`: that one's stream of so many words, `fails`: its error event.
    """

    name: str
    route: dict[str, Any]
    posts: tuple[str, ...]
    grammar: str
    ended: dict[str, str]
    schemas: dict[str, Schema]
    error: Schema
    start: Start
    stop: Callable[[str, bytes], tuple[str, Any]]
    text: Callable[[list[Event]], str]
    passes: bool = False
    records: str = ""
    refuses_again: int | None = None
    over_budget: str = "cancelled"
    upstream: dict[str, Any] = field(default_factory=dict)
    says: Callable[[int], list[bytes]] = chat_events
    fails: bytes = FAILURE

    def up_to(self, said: str) -> list[bytes]:
        """The upstream's stream up to the event with that word."""
        events = self.says(4)
        return events[: next(number for number, each in enumerate(events, 1) if said.encode() in each)]


def read_events(body: bytes) -> list[Event]:
    """The events of a stream as an SSE parser dispatches them; the name is in the data, else in the event's line."""
    found: list[Event] = []
    for block in body.decode().split("\n\n"):
        lines = [line.partition(":") for line in block.split("\n")]
        data = "\n".join(value.removeprefix(" ") for name, _, value in lines if name == "data")
        kind = next((value.strip() for name, _, value in lines if name == "event"), "")
        if not any(name == "data" for name, _, _ in lines):
            continue
        if data == "[DONE]":
            found.append(Event("[DONE]", data))
            continue
        value = json.loads(data)
        found.append(Event(_name(kind, value), value))
    return found


def _name(kind: str, data: dict[str, Any]) -> str:
    """What an event is called: by its line, else within its data; one of an API without names is an answer."""
    return kind or data.get("event") or data.get("object") or ("error" if "error" in data else "answer")


def names(events: list[Event]) -> str:
    """The names of events, each with a blank behind it."""
    return "".join(f"{event.name} " for event in events)


def an_object(*required: str, **fields: Schema) -> Schema:
    """The schema of an object with these fields; others may be there too."""
    return {"type": "object", "required": list(required) or list(fields), "properties": fields}


TEXT: Schema = {"type": "string"}
COUNT: Schema = {"type": "integer", "minimum": 0}
UUID: Schema = {"type": "string", "pattern": "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"}
