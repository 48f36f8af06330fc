"""A client of the Responses API, served from chat completions. Source of the schemas: OpenAI's API reference."""

import re
from typing import Any

from dialects.drivers.base import COUNT, TEXT, Driver, Event, Schema, an_object
from support.client import RawClient
from support.proxy import RunningProxy
from support.stops import Ask

RESPONSE_ID: Schema = {"type": "string", "pattern": "^resp_[0-9a-f]{32}$"}
ITEM_ID: Schema = {"type": "string", "pattern": "^(msg|rs|fc)_[0-9a-f]{34}$"}
TEXT_OR_NULL: Schema = {"type": ["string", "null"]}
LIST: Schema = {"type": "array"}


async def start(_proxy: RunningProxy, client: RawClient, ask: Ask, task_id: str) -> None:
    """See `Start`."""
    body: dict[str, Any] = {"model": "scripted", "input": "Tell me.", "stream": True}
    await client.post("/v1/responses", body, ask.headers(X_Task_Id=task_id))


def stop(_task_id: str, said: bytes) -> tuple[str, Any]:
    """See `Driver`. A response's id is known from its first event."""
    found = re.search(rb'"id":"(resp_[0-9a-f]+)"', said)
    assert found, said
    return f"/v1/responses/{found[1].decode()}/cancel", b""


def text(events: list[Event]) -> str:
    """See `Driver`."""
    return "".join(event.data["delta"] for event in events if event.name == "response.output_text.delta")


def an_event(name: str, **fields: Schema) -> tuple[str, Schema]:
    """An event's name and schema."""
    return name, an_object(type={"const": name}, sequence_number=COUNT, **fields)


def a_response(*statuses: str) -> Schema:
    """The schema of a response with one of these statuses."""
    return an_object(
        id=RESPONSE_ID,
        object={"const": "response"},
        created_at=COUNT,
        status={"enum": list(statuses)},
        model=TEXT,
        output=LIST,
        error={},
        incomplete_details={},
        instructions=TEXT_OR_NULL,
        metadata={"type": "object"},
        parallel_tool_calls={"type": "boolean"},
        temperature={"type": "number"},
        tool_choice={},
        tools=LIST,
        top_p={"type": "number"},
        usage={},
    )


WHERE = {"item_id": ITEM_ID, "output_index": COUNT, "content_index": COUNT}
PART = an_object(type={"const": "output_text"}, text=TEXT, annotations=LIST)
ITEM = an_object("id", "type", "status", id=ITEM_ID, status={"enum": ["in_progress", "completed", "incomplete"]})

DRIVER = Driver(
    name="responses",
    records="openai",
    route={"dialect": "openai", "responses": "emulate"},
    posts=("/responses", "/responses/resp_1/cancel"),
    grammar=(
        r"response\.created response\.in_progress "
        r"(response\.output_item\.added response\.content_part\.added (response\.output_text\.delta )*"
        r"(response\.output_text\.done response\.content_part\.done response\.output_item\.done )?)*"
        r"response\.(completed|cancelled|failed) "
    ),
    ended={
        "completed": r"response\.(output_item\.done|in_progress) response\.completed $",
        "cancelled": r"response\.cancelled $",
        "failed": r"response\.failed $",
    },
    schemas=dict(
        [
            an_event("response.created", response=a_response("in_progress")),
            an_event("response.in_progress", response=a_response("in_progress")),
            an_event("response.output_item.added", output_index=COUNT, item=ITEM),
            an_event("response.output_item.done", output_index=COUNT, item=ITEM),
            an_event("response.content_part.added", part=PART, **WHERE),
            an_event("response.content_part.done", part=PART, **WHERE),
            an_event("response.output_text.delta", delta=TEXT, logprobs=LIST, **WHERE),
            an_event("response.output_text.done", text=TEXT, logprobs=LIST, **WHERE),
            an_event("response.completed", response=a_response("completed")),
            an_event("response.cancelled", response=a_response("cancelled")),
            an_event("response.failed", response=a_response("failed")),
        ]
    ),
    error=an_object(error=an_object("message", "type", "code", "param", message=TEXT, type=TEXT)),
    start=start,
    stop=stop,
    text=text,
)
