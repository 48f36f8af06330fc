"""A client of the Aitronos API. Source of the schemas: its documentation, the newest form of the stream."""

import re
from typing import Any

from dialects.drivers.base import COUNT, TEXT, UUID, Driver, Event, Schema, an_object
from support.client import RawClient
from support.proxy import RunningProxy
from support.stops import Ask

THREAD: Schema = {"type": "string", "pattern": "^thrd_[0-9a-f]{32}$"}
RESPONSE: Schema = {"type": "string", "pattern": "^resp_[0-9a-f]{32}$"}
MESSAGE: Schema = {"type": "string", "pattern": "^msg_[0-9a-f]{32}$"}
TEXT_OR_NULL: Schema = {"type": ["string", "null"]}
COUNT_OR_NULL: Schema = {"type": ["integer", "null"], "minimum": 0}
BLOCK = {
    "oneOf": [
        an_object(type={"const": "text"}, text=TEXT),
        an_object(type={"const": "tool_use"}, id=TEXT, name=TEXT, input={}, arguments=TEXT),
    ]
}
BLOCKS: Schema = {"type": "array", "items": BLOCK}
USAGE = an_object(input_tokens=COUNT_OR_NULL, output_tokens=COUNT_OR_NULL, total_tokens=COUNT_OR_NULL)
ISO: Schema = {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$"}


async def start(_proxy: RunningProxy, client: RawClient, ask: Ask, task_id: str) -> None:
    """See `Start`."""
    body: dict[str, Any] = {"inputs": [{"role": "user", "content": "Tell me."}], "stream": True}
    await client.post("/v1/model/response", body, ask.headers(X_Task_Id=task_id))


def stop(_task_id: str, said: bytes) -> tuple[str, Any]:
    """See `Driver`. A stream's thread is known from its first event."""
    found = re.search(rb'"thread_id":"(thrd_[0-9a-f]+)"', said)
    assert found, said
    return f"/v1/model/response/{found[1].decode()}/cancel", b""


def text(events: list[Event]) -> str:
    """See `Driver`."""
    return "".join(event.data["delta"] for event in events if event.name == "response.content_delta")


def an_event(name: str, **fields: Schema) -> tuple[str, Schema]:
    """An event's name and schema."""
    return name, an_object(event={"const": name}, **fields)


DRIVER = Driver(
    name="aitronos",
    route={"model": "scripted"},
    posts=("/model/response", "/model/response/stream", "/model/response/thrd_1/cancel", "/threads"),
    grammar=(
        r"response\.processing (response\.created )?"
        r"(reasoning\.started (reasoning\.content )+reasoning\.completed |response\.(content_delta|block|heartbeat) )*"
        r"response\.(completed|cancelled|error) \[DONE\] "
    ),
    ended={
        "completed": r"response\.completed \[DONE\] $",
        "cancelled": r"response\.cancelled \[DONE\] $",
        "failed": r"response\.error \[DONE\] $",
    },
    schemas=dict(
        [
            an_event("response.processing", status={"const": "processing"}, thread_id=THREAD, message=TEXT),
            an_event(
                "response.created",
                status={"const": "in_progress"},
                thread_id=THREAD,
                response_id=RESPONSE,
                user_id=TEXT,
                org_id=TEXT_OR_NULL,
                user_message_id=MESSAGE,
                trace_id=TEXT,
            ),
            an_event("response.heartbeat", thread_id=THREAD),
            an_event("response.content_delta", delta=TEXT),
            an_event("response.block", block=BLOCK),
            an_event("reasoning.started"),
            an_event("reasoning.content", content=TEXT),
            an_event("reasoning.completed"),
            an_event(
                "response.completed",
                status={"const": "completed"},
                thread_id=THREAD,
                response_id=RESPONSE,
                response=BLOCKS,
                is_summarized={"const": False},
                stop_reason={"enum": ["end_turn", "tool_use", "max_tokens"]},
                usage=USAGE,
            ),
            an_event(
                "response.cancelled", status={"const": "cancelled"}, thread_id=THREAD, partial_content_length=COUNT
            ),
            an_event("response.error", status={"const": "failed"}, thread_id=THREAD, message=TEXT, code=TEXT),
        ]
    ),
    error=an_object(
        success={"const": False},
        error=an_object(
            code=TEXT,
            message=TEXT,
            system_message=TEXT,
            type=TEXT,
            status=COUNT,
            details={"type": "object"},
            trace_id=UUID,
            timestamp=ISO,
        ),
    ),
    start=start,
    stop=stop,
    text=text,
)
